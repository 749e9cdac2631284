# Fed-BioMed's researcher answers its nodes on the VPN address.
[ -z "${VPN_IP:-}" ] || export FBM_SERVER_HOST="$VPN_IP"
export FBM_RESEARCHER_COMPONENT_ROOT=/fbm-researcher
