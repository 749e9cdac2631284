# For every bash in a container: what config.env gives to applications, for whoever may read it. vpn_client prints the
# lines quoted, so nothing of the file is executed.
if [ -z "${VPN_ENVIRONMENT_SET:-}" ] && [ -r /config/config.env ] && [ -x /opt/vpn/venv/bin/vpn_client ]; then
    eval "$(/opt/vpn/venv/bin/vpn_client environment 2> /dev/null)"
    for part in /etc/fedbiomed-vpn/environment.d/*.sh; do
        [ ! -r "$part" ] || . "$part"
    done
    export VPN_ENVIRONMENT_SET=1
fi
