"""ATen's CUDA kernels on the null device: small tensors are computed, large ones are not.

Host code reads sizes, positions and counts back from device tensors, and chooses kernels by them. A
null device's memory is host memory, so an operator on small tensors runs on the CPU over the same
bytes. On larger ones the real host code runs (it picks the kernels) and launches nothing; a small
result of it reads as zero, not as whatever lay there. cuDNN cannot run (its runtime is its own),
but stays enabled, since torch's choices, and so the cache keys, depend on it: its attention and
convolution answer with the right shapes.
"""

import ctypes
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

# Elements that all tensors of one call may have together to be computed.
LIMIT = int(os.environ.get("WARMUP_CI_NULL_SMALL", "65536"))
# Operators that make, view or move memory, draw random numbers, or stand for a library of kernels:
# theirs is the host code that is wanted, or nothing that a host would read.
_NOT_COMPUTED = (
    "empty", "as_strided", "set_", "resize", "record_stream", "_reshape_alias", "view", "unfold",
    "cudnn", "miopen", "_foreach", "_fused", "normal", "uniform", "random", "bernoulli",
    "exponential", "dropout", "rand", "_to_copy", "_local_scalar", "attention",
    "_scaled", "_thnn", "_cslt", "_pin", "is_pinned", "convolution", "_conv", "sparse", "nested",
    "quantize", "_backward", "rrelu", "geometric", "cauchy", "log_normal", "poisson",
    "_assert_async", "_int_mm", "_weight_int",
)  # fmt: skip
# Overloads drawn on purpose although their name is in the list's reach.
_COMPUTED = ("multinomial",)

_libraries: list[torch.library.Library] = []  # what is registered lives as long as its library


def install() -> None:
    """Override every suitable CUDA kernel; nothing where torch sees no device."""
    if not torch.cuda.is_available():
        return
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each override warns
        for name in _list_operators():
            _override(library, name)
        library.impl("_scaled_dot_product_cudnn_attention", _attend, "CUDA")
        library.impl("cudnn_convolution", _convolve, "CUDA")


def _list_operators() -> Iterator[str]:
    """`add.Tensor` for each operator with a CUDA kernel of its own that may be computed."""
    yield "copy_"
    for full in torch._C._dispatch_get_registrations_for_dispatch_key("CUDA"):
        namespace, _, name = full.partition("::")
        base = name.partition(".")[0]
        if namespace != "aten" or (
            base not in _COMPUTED and any(part in base for part in _NOT_COMPUTED)
        ):
            continue
        yield name


def _override(library: torch.library.Library, name: str) -> None:
    base, _, overload = name.partition(".")
    try:
        operator = getattr(getattr(torch.ops.aten, base), overload or "default")
        kernel = torch.library.get_kernel(f"aten::{name}", "CUDA")
    except (AttributeError, RuntimeError):  # registered, but without a schema to call it by
        return
    library.impl(
        name, _make_handler(operator, kernel), "CUDA", with_keyset=True, allow_override=True
    )


def _make_handler(operator: Any, kernel: Any) -> Callable[..., Any]:
    schema = operator._schema
    declared = [i for i, each in enumerate(schema.arguments) if str(each.type) == "Tensor"]
    has_alias = any(result.alias_info is not None for result in schema.returns)

    def handler(keyset: Any, *args: Any, **kwargs: Any) -> Any:
        for index in declared:  # numbers arrive unwrapped there
            if index < len(args) and isinstance(args[index], int | float):
                args = (*args[:index], torch.tensor(args[index]), *args[index + 1 :])
        tensors = _list_tensors((args, kwargs))
        if _is_small(tensors) and not torch.cuda.is_current_stream_capturing():
            try:
                return _compute(operator, args, kwargs, tensors)
            except (RuntimeError, NotImplementedError, IndexError, TypeError, ValueError):
                pass  # the CPU lacks it, or refuses these arguments: the host code of CUDA decides
        result = kernel.call_boxed(keyset, *args, **kwargs)
        if not has_alias and not torch.cuda.is_current_stream_capturing():
            _clear_small(result)
        return result

    return handler


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """`value` with each leaf of its tuples, lists and dicts (all that an operator takes or gives)
    replaced: torch's own tree_map costs as much as a small operator."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([_map(function, each) for each in value])
    if kind is dict:
        return {name: _map(function, each) for name, each in value.items()}
    return function(value)


def _list_tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if type(value) is dict else value
    if type(value) not in (tuple, list, dict):
        return []
    return [tensor for each in inner for tensor in _list_tensors(each)]


def _is_small(tensors: Iterable[torch.Tensor]) -> bool:
    total = 0
    for tensor in tensors:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            return False
        if tensor.layout != torch.strided or not (tensor.is_cuda or tensor.is_cpu):
            return False
        if tensor.is_conj() or tensor.is_neg():
            return False
        total += tensor.numel()
    return total <= LIMIT


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    """A CPU tensor over the same bytes."""
    storage = tensor.untyped_storage()
    size = storage.nbytes()
    if not size:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    seen = torch.empty(0, dtype=tensor.dtype)
    flat = _get_storage(storage.data_ptr(), size)
    return seen.set_(flat, tensor.storage_offset(), tensor.shape, tensor.stride())


@functools.lru_cache(maxsize=4096)
def _get_storage(address: int, size: int) -> torch.UntypedStorage:
    """Kept, since the null device never unmaps its memory, and an allocator gives out the same
    blocks again and again."""
    raw = (ctypes.c_char * size).from_address(address)
    return torch.frombuffer(raw, dtype=torch.uint8).untyped_storage()


def _clear_small(result: Any) -> None:
    for leaf in _list_tensors(result):
        if (
            type(leaf) is torch.Tensor
            and leaf.is_cuda
            and leaf.layout == torch.strided
            and 0 < leaf.numel() <= LIMIT
        ):
            _alias(leaf).zero_()


def _compute(operator: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
    """Run the operator on CPU twins; what it resized or returned becomes a device tensor again."""
    device = next((each.device for each in tensors if each.is_cuda), None)
    twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def to_cpu(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            if not leaf.is_cuda:
                return leaf
            return twins.setdefault(id(leaf), (leaf, _alias(leaf)))[1]
        if isinstance(leaf, torch.device) and leaf.type == "cuda":
            return torch.device("cpu")
        return leaf

    cpu_args, cpu_kwargs = _map(to_cpu, (args, kwargs))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as little as this is done before other threads are awake
    try:
        result = operator(*cpu_args, **cpu_kwargs)
    finally:
        torch.set_num_threads(threads)
    for original, twin in twins.values():
        if original.shape != twin.shape:  # an `out=` that had no size yet
            original.resize_(twin.shape)
            _alias(original).copy_(twin)
    originals = {id(twin): original for original, twin in twins.values()}

    def to_device(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return originals[id(leaf)] if id(leaf) in originals else _copy_to(device, leaf)

    return _map(to_device, result)


def _copy_to(device: torch.device | None, leaf: torch.Tensor) -> torch.Tensor:
    """device: None for the current one."""
    target = device or torch.device("cuda", torch.cuda.current_device())
    made = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=target)
    if leaf.numel():
        _alias(made).copy_(leaf)
    return made


def _to_meta(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf


def _to_empty(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="cuda")


def _attend(*args: Any, **kwargs: Any) -> Any:
    operator = torch.ops.aten._scaled_dot_product_cudnn_attention.default
    meta_args, meta_kwargs = _map(_to_meta, (args, kwargs))
    return _map(_to_empty, operator(*meta_args, **meta_kwargs))


def _convolve(
    image: torch.Tensor,
    weight: torch.Tensor,
    padding: list[int],
    stride: list[int],
    dilation: list[int],
    groups: int,
    *_: bool,
) -> Any:
    operator = torch.ops.aten.convolution.default
    zeros = [0] * len(stride)
    shape = operator(
        image.to("meta"), weight.to("meta"), None, stride, padding, dilation, False, zeros, groups
    )
    return _to_empty(shape)
