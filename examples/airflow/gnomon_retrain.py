"""An Airflow 3 DAG that takes up a request to retrain, trains, and says so. Replace ``train``.

The worker needs ``gnomon`` on its PATH and GNOMON_KAFKA in its environment. Each answer names the request: one that has been cancelled
meanwhile, or answered already, is left as it is, so any task may be run again.
"""

import subprocess
from typing import Any

from airflow.sdk import dag, get_current_context, task


def answer(decision: str, request: dict[str, Any]) -> None:
    """Tell Gnomon."""
    words = ["gnomon", "retrain", decision, "--request", request["request_id"], "--force", "--by", "airflow", "--", request["model_id"]]
    subprocess.run(words, check=True)  # noqa: S603  no shell reads them


@dag(schedule=None, catchup=False, max_active_runs=1, tags=["gnomon"])
def gnomon_retrain() -> None:
    """Take up, train, report."""

    @task(retries=3)
    def ack() -> dict[str, Any]:
        request = dict(get_current_context()["dag_run"].conf)
        answer("ack", request)
        return request

    @task
    def train(request: dict[str, Any]) -> dict[str, Any]:
        span = request["data"]
        print(f"train {request['model_id']} on {span['n_labelled']} labelled predictions from {span['from']} to {span['to']}")
        raise NotImplementedError("put your training here, and deploy under a new model_version")
        return request

    @task(retries=3)
    def done(request: dict[str, Any]) -> None:
        answer("done", request)

    done(train(ack()))


gnomon_retrain()
