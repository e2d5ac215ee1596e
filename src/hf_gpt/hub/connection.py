"""The connection to the Hub: opened with a token, and what it answers as one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, get_token

# Of `httpx` or `httpx2`, by the version of huggingface_hub; a failure of the network is one too.
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from ..errors import InputError
from ..modeling.configuration_hf_gpt import __version__
from ..reports.privacy import without_secrets


TRANSIENT = (408, 429, 500, 502, 503, 504)


def open_hub() -> HfApi:
    if get_token() is None:
        raise InputError("there is no access token: log in with `hf auth login`, or set HF_TOKEN.")
    return HfApi(library_name="hf-gpt", library_version=__version__)


def full_name(api: HfApi, name: str) -> str:
    return name if "/" in name else f"{api.whoami()['name']}/{name}"


def is_transient(error: Exception) -> bool:
    """Return whether the same request may well go through a little later."""
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in TRANSIENT
    # A gateway in trouble answers with a page where JSON is expected.
    return isinstance(cause, (HTTPError, json.JSONDecodeError))


@contextmanager
def hub_errors(api: HfApi, name: str) -> Iterator[None]:
    """Turn what the Hub or the way to it answers into one `InputError`."""
    again = "Rerun the same command: it resumes with what is missing."
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, so that nothing can be pushed: unset it.") from error
    except HfHubHTTPError as error:
        raise InputError(_http_message(error, name, again)) from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise InputError(f"the connection to {api.endpoint} failed ({without_secrets(str(error))}). {again}") from error
    except (RuntimeError, PermissionError) as error:
        # What goes wrong in the upload threads of huggingface_hub, and in hf_xet.
        reason = error if error.__cause__ is None else f"{error} {error.__cause__}"
        raise InputError(f"the upload to {name} failed ({without_secrets(str(reason))}). {again}") from error
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(f"{api.endpoint} does not answer as a Hub does. {again}") from error
    except ValueError as error:
        # Metadata of the card that the Hub refuses.
        raise InputError(f"the Hub refuses the push to {name}: {' '.join(without_secrets(str(error)).split())}") from error


def _http_message(error: HfHubHTTPError, name: str, again: str) -> str:
    status = error.response.status_code
    reason = without_secrets(error.server_message or "").strip()
    reason = f" ({reason})" if reason else ""
    if status == 401:
        return f"the Hub does not accept the access token{reason}: log in again with `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return (
            f"the access token may not write to {name}{reason}: name another --repo, or use a token with the right to write."
        )
    if status == 404:
        return f"{name} is not there or not visible to the access token{reason}: look at --repo and --revision."
    if status in (409, 412):
        return f"{name} was changed by somebody else meanwhile{reason}. Look at it, then rerun the same command."
    if status in TRANSIENT:
        return f"the Hub answers {status} for {name}{reason}. {again}"
    return f"the Hub refuses the push to {name} with {status}{reason}."
