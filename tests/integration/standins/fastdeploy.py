"""The API server of a stand-in for FastDeploy."""

import os

from standin_server import serve

if __name__ == "__main__":
    serve(os.environ.get("FD_API_KEY", ""))
