"""`headclaims extract`: some of a model's weights, as a file that can be audited without the rest."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from headclaims.checkpoint.joined import MODEL_CONFIG
from headclaims.checkpoint.partial import MODEL_TYPES, PartialWeights
from headclaims.checkpoint.safetensors_file import EvidenceFile
from headclaims.errors import BadCheckpoint, BadInput
from headclaims.files import in_one_step

QUERY_KEY = re.compile(
    r"(ln_1\.(weight|bias)|attn\.c_attn\.(weight|bias)|input_layernorm\.weight|self_attn\.[qk]_proj\.(weight|bias))"
)
MLP = re.compile(r"(ln_2\.(weight|bias)|mlp\.c_(fc|proj)\.(weight|bias))")
IN_LAYER = re.compile(r"(?:.*\.)?(?:h|layers)\.(\d+)\.(.+)")


def extract(
    spec: str, layers: Sequence[int], output: Path | None = None, embedding: bool = False, revision: str | None = None
) -> Path:
    """Write the input norm and the query and key weights of some layers, as they are stored, and return the path.

    With `embedding`, which GPT-2 alone allows, also the token embedding and the MLPs before the deepest of the layers,
    of which E is made. Raises BadInput, in one line, for a model that can't be read, of a type that partial weights
    are not read of, or without such a layer.
    """
    folder, gguf, name = _folder(spec, revision)
    model = _model(spec, folder, gguf)
    config = {key: value for key, value in model.config.to_dict().items() if key in MODEL_CONFIG}
    if config.get("model_type") not in MODEL_TYPES:
        raise BadCheckpoint(f"{spec}: model type {config.get('model_type')!r}; wanted {', '.join(MODEL_TYPES)}")
    if embedding and config["model_type"] != "gpt2":
        raise BadInput(f"--embedding: {spec} is of model type {config['model_type']!r}; wanted gpt2")
    n_layers = model.config.num_hidden_layers
    if not layers or not set(layers) <= set(range(n_layers)):
        raise BadInput(f"--layers {','.join(map(str, layers))}: {spec} has layers 0 to {n_layers - 1}")

    def is_wanted(tensor: str) -> bool:
        match = IN_LAYER.fullmatch(tensor)
        if match is None:
            return embedding and tensor.endswith("wte.weight")
        before = embedding and int(match[1]) < max(1, *layers) and MLP.fullmatch(match[2]) is not None
        return before or (int(match[1]) in layers and QUERY_KEY.fullmatch(match[2]) is not None)

    tensors = {key: tensor.contiguous().clone() for key, tensor in model.state_dict().items() if is_wanted(key)}
    path = output or Path(f"{name}-weights.safetensors")
    header = {"kind": PartialWeights.kind, "name": name, "config": json.dumps(config, default=str)}
    with in_one_step(path) as scratch:
        save_file(tensors, scratch, metadata=header)
        PartialWeights(EvidenceFile.open(str(scratch), str(path)))
    return path


def _folder(spec: str, revision: str | None) -> tuple[Path, str | None, str]:
    """Return the folder of a model, its GGUF file where it is one, and the model's name."""
    path = Path(os.path.expanduser(spec))
    if path.suffix == ".gguf" and path.is_file():
        return path.parent, path.name, path.stem
    if path.is_dir():
        return path, None, path.resolve().name
    if spec == "planted":
        from headclaims.checkpoint.planted.folder import planted_folder

        return planted_folder(), None, spec
    from headclaims.checkpoint import HUB_ID, hub

    if path.exists() or path.suffix or not HUB_ID.fullmatch(spec):
        raise BadCheckpoint(f"{spec}: no model to extract from; wanted a hub id, a folder, a .gguf file or planted")
    return hub.fetch(spec, revision), None, spec.replace("/", "--")


def _model(spec: str, folder: Path, gguf: str | None) -> Any:
    """Load a model in the type that it is stored in."""
    import transformers

    from headclaims.checkpoint.quiet import quiet

    source = {"gguf_file": gguf} if gguf else {}
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **source
            )
            if config.model_type not in MODEL_TYPES:
                raise ValueError(f"model type {config.model_type!r}; wanted {', '.join(MODEL_TYPES)}")
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype="auto",
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **source,
            )
    except Exception as error:
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BadCheckpoint(f"{spec}: no readable model: {line}") from error
    if info["missing_keys"]:
        raise BadCheckpoint(
            f"{spec}: weights without {len(info['missing_keys'])} tensors, as {min(info['missing_keys'])}"
        )
    return model
