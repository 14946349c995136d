"""The log of a pod's container `main`: the process's lines within those of KFP's launcher and of Argo's executor.

As of logs that users of Kubeflow Pipelines 2.3 to 2.15 posted: the launcher names the exit status of the process, and
ends with 1 itself, which Argo repeats.
"""

_ARGO = 'time="2025-03-25T16:58:42.294Z" level=info msg="sub-process exited" argo=true error="<nil>"'


def main_log(printed: str, ended: str = "", *, launcher: str = "failed to execute component: ") -> str:
    """A log.

    Args:
        printed: by the process.
        ended: how the process failed, in Go's words, such as "exit status 2" or "signal: killed"; "" for a success.
        launcher: what the launcher writes before that.
    """
    before = "I0325 16:58:30.001002 98 launcher_v2.go:90] input ComponentSpec:{}"
    lines = [before, *printed.splitlines(), "I0325 16:58:41.335956 98 launcher_v2.go:193] publish success."]
    if ended:
        lines.append(f"F0325 16:58:41.568909 98 main.go:54] {launcher}{ended}")
    return "\n".join([*lines, _ARGO, *(["Error: exit status 1"] if ended else [])]) + "\n"
