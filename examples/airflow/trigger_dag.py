#!/usr/bin/env python3
"""Start a run of an Airflow 3 DAG for a request to retrain; the command of ``gnomon retrain-hook``.

    gnomon retrain-hook -- ./trigger_dag.py gnomon_retrain

The request comes on standard input. Its id is the id of the run, so a request that comes twice starts one run: Airflow answers the second
with 409, and that is as good as done. Ends with status 0 when the run is there, else 1, and the hook tries again.

Environment: AIRFLOW_URL, such as ``https://airflow.example``, and one of

- AIRFLOW_TOKEN_FILE: a file that holds a JSON Web Token, read at each run;
- AIRFLOW_USERNAME and AIRFLOW_PASSWORD_FILE: a token is asked for at each run.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

TIMEOUT_S = 30


class _Stay(HTTPRedirectHandler):
    """A redirect is an error: a login page that answers 200 is no run that has begun."""

    def redirect_request(self, *_: Any) -> None:
        return None


def body(event: dict[str, Any]) -> dict[str, Any]:
    """Return what starts the run: ``dag_run.conf`` is the data of the event."""
    data = event["data"]
    return {"dag_run_id": data["request_id"], "logical_date": None, "conf": data, "note": data["reason"][:1000]}


def post(url: str, value: dict[str, Any], token: str = "") -> dict[str, Any]:
    """Post JSON; return the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = Request(url, json.dumps(value).encode(), headers, method="POST")  # noqa: S310  the user's own address
    with build_opener(_Stay).open(request, timeout=TIMEOUT_S) as answer:
        return dict(json.load(answer))


def login(base: str) -> str:
    """Return a token."""
    if "AIRFLOW_TOKEN_FILE" in os.environ:
        return Path(os.environ["AIRFLOW_TOKEN_FILE"]).read_text().strip()
    password = Path(os.environ["AIRFLOW_PASSWORD_FILE"]).read_text().strip()
    return str(post(f"{base}/auth/token", {"username": os.environ["AIRFLOW_USERNAME"], "password": password})["access_token"])


def main(dag_id: str) -> str:
    """Start the run; return why there is none, empty if there is."""
    try:
        base = os.environ["AIRFLOW_URL"].rstrip("/")
        wanted = body(json.load(sys.stdin))
    except (KeyError, ValueError, TypeError) as error:
        return f"expected AIRFLOW_URL in the environment and the event of a request as JSON on standard input: {error!r}"
    try:
        token = login(base)
    except (KeyError, HTTPError, URLError, OSError) as error:
        return f"no token to be had: {error!r}"
    try:
        run = post(f"{base}/api/v2/dags/{quote(dag_id, safe='')}/dagRuns", wanted, token)
    except HTTPError as error:
        return "" if error.code == 409 else f"Airflow answered {error.code}: {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"no answer from Airflow: {error}"
    return "" if run.get("dag_run_id") == wanted["dag_run_id"] else "expected the run in the answer; is AIRFLOW_URL that of the API server?"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or None)
