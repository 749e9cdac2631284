"""The notebook server: protected by a token or a password, with TLS where there is a certificate."""

import os
from pathlib import Path

FOLDER = Path("/config/notebook")

c = get_config()  # noqa: F821 - Jupyter puts it there
c.ServerApp.ip = os.environ["NOTEBOOK_ADDRESS"]
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_remote_access = True
c.ServerApp.allow_root = True
c.ServerApp.root_dir = os.getcwd()
# A file with the token in it for a browser on the same machine, which a container has not.
c.ServerApp.use_redirect_file = False
if (FOLDER / "password.hash").exists():
    c.PasswordIdentityProvider.hashed_password = (FOLDER / "password.hash").read_text().strip()
    c.IdentityProvider.token = ""
else:
    c.IdentityProvider.token = (FOLDER / "token").read_text().strip()
if (FOLDER / "cert.pem").exists():
    c.ServerApp.certfile = str(FOLDER / "cert.pem")
    c.ServerApp.keyfile = str(FOLDER / "key.pem")
