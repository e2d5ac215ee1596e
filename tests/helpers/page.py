"""The page of `hf-gpt demo` without Gradio, which only `make test-browser` installs: its handlers are functions like others."""

import importlib
import sys
from unittest.mock import MagicMock


class ShownError(Exception):
    """Stands for `gradio.Error`: what a visitor sees as a message."""

    def __init__(self, message, **options):
        super().__init__(message)


def load_demo(monkeypatch):
    """The module, imported anew with something in place of Gradio that takes every call."""
    gradio = MagicMock(name="gradio")
    gradio.Error = ShownError
    launch = gradio.Blocks.return_value.__enter__.return_value.queue.return_value.launch
    launch.return_value = (None, "http://127.0.0.1:7860", None)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    # Imported by others before or afterwards, they are others.
    for name in ("page_models", "page_writing", "demo"):
        name = f"hf_gpt.inference.{name}"
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
    return module, gradio


def events(gradio):
    """Each handler of a page that was built, by the name under which it can be asked for, with the number of its fields."""
    calls = [call for call in gradio.on.call_args_list if call.args[1] is not None]
    return {call.kwargs["api_name"]: (call.args[1], len(call.args[2]), call.kwargs) for call in calls}
