"""What can end a run from outside, named: a line that says what happened and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from torch.distributed import DistError

from ..errors import InputError
from ..run_folder.checkpoints import newest, rerun


@contextmanager
def named_causes(folder: Path) -> Iterator[None]:
    """Turn what can end a run from outside into an `InputError` that says what happened and what to do.

    Args:
        folder: Of the run.
    """
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"weights in {folder} cannot be read: {first_line(error)}.") from error
    except FileNotFoundError as error:
        raise InputError(
            f"a file that the run needs has vanished: {error.filename or first_line(error)}; {newest(folder)}. Put it back and "
            f"{rerun(folder)}."
        ) from error
    except DistError as error:
        raise InputError(lost_process(error, folder)) from error
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            raise InputError(
                f"a worker that reads data died ({first_line(error)}), most often because memory ran out; {newest(folder)}. "
                f"{rerun(folder).capitalize()}; dataloader_num_workers=0 needs no worker."
            ) from error
        if any(word in str(error) for word in ("gloo", "Gloo", "NCCL", "Connection closed by peer")):
            raise InputError(lost_process(error, folder)) from error
        raise


def lost_process(error: BaseException, folder: Path) -> str:
    return (
        f"another process of this run ended or does not answer ({first_line(error)}); {newest(folder)}. Look for its message, then "
        f"{rerun(folder)}."
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
