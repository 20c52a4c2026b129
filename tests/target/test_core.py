"""The null device's core, as a program meets it: real libraries, loaded by a real process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.target.null_device import get_libraries, run
from warmup.kernels.check import make_cubin


def test_devices_are_those_of_the_profile(tmp_path: Path) -> None:
    code = """
count, sms, major = I(), I(), I()
assert cudart.cudaGetDeviceCount(ref(count)) == 0
assert cudart.cudaDeviceGetAttribute(ref(sms), 16, 7) == 0
assert cuda.cuDeviceGetAttribute(ref(major), 75, 0) == 0
name = ctypes.create_string_buffer(64)
assert cuda.cuDeviceGetName(name, 64, 0) == 0
print(count.value, sms.value, major.value, name.value.decode())
print(cudart.cudaDeviceGetAttribute(ref(sms), 16, 8), cudart.cudaSetDevice(8))
"""
    assert run(code, tmp_path).splitlines() == ["8 132 9 NVIDIA H200", "101 101"]
    assert run(code, tmp_path, "b200x8").splitlines()[0] == "8 148 10 NVIDIA B200"


@pytest.mark.parametrize(
    ("named", "count"), [("0,1", 2), ("5", 1), ("", 0), ("1,9,2", 1), ("GPU-x", 0)]
)
def test_cuda_visible_devices_hides_the_others(tmp_path: Path, named: str, count: int) -> None:
    code = f"""
os.environ["CUDA_VISIBLE_DEVICES"] = {named!r}
nvml, seen, all_there = load("libnvidia-ml.so.1"), I(), I()
cudart.cudaGetDeviceCount(ref(seen))
assert nvml.nvmlDeviceGetCount_v2(ref(all_there)) == 0
print(seen.value, all_there.value)
"""
    assert run(code, tmp_path) == f"{count} 8"


def test_memory_is_charged_and_given_back(tmp_path: Path) -> None:
    code = """
free, total = S(), S()
def get_free():
    assert cudart.cudaMemGetInfo(ref(free), ref(total)) == 0
    return free.value
start = get_free()
assert start == total.value
blocks = [malloc(1 << 30) for _ in range(4)]
assert start - get_free() == 4 << 30
for at in blocks[1:3]:
    assert cudart.cudaFree(at) == 0
again = malloc(2 << 30)
assert again.value == blocks[1].value  # the two freed ones became one
for at in (again, blocks[0], blocks[3]):
    assert cudart.cudaFree(at) == 0
assert get_free() == start
print(cudart.cudaFree(blocks[0]), cudart.cudaFree(P(0x1000)), cudart.cudaFree(None))
"""
    assert run(code, tmp_path) == "1 1 0"


def test_out_of_memory_is_told_and_the_error_is_kept_until_it_is_asked_for(tmp_path: Path) -> None:
    code = """
at = P()
most = malloc(100 << 30)
print(cudart.cudaMalloc(ref(at), 60 << 30), at.value)
print(cudart.cudaPeekAtLastError(), cudart.cudaGetLastError(), cudart.cudaGetLastError())
print(cudart.cudaGetErrorName(2).decode())
assert cudart.cudaSetDevice(1) == 0  # another device has memory of its own
malloc(60 << 30)
"""
    said = ["2 None", "2 2 0", "cudaErrorMemoryAllocation"]
    assert run(code, tmp_path).splitlines() == said


def test_large_memory_costs_only_what_is_touched(tmp_path: Path) -> None:
    code = """
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
at = malloc(130 << 30)
assert cudart.cudaMemset(at, 0, 130 << 30) == 0
host = ctypes.create_string_buffer(64 << 20)
assert cudart.cudaMemcpy(at, host, 64 << 20, 1) == 0
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    assert int(run(code, tmp_path)) < 256  # MiB


def test_small_copies_are_real(tmp_path: Path) -> None:
    code = """
at, back = malloc(4096), ctypes.create_string_buffer(6)
assert cudart.cudaMemset(at, 0x41, 4096) == 0
assert cudart.cudaMemcpy(P(at.value + 1), b"warm", 4, 1) == 0
assert cudart.cudaMemcpy(back, at, 6, 2) == 0
print(back.raw.decode())
"""
    assert run(code, tmp_path) == "AwarmA"


def test_pointers_are_told_apart(tmp_path: Path) -> None:
    code = """
class Attributes(ctypes.Structure):
    _fields_ = [("type", I), ("device", I), ("d", P), ("h", P), ("reserved", ctypes.c_long * 8)]
def get_kind(at):
    out = Attributes()
    assert cudart.cudaPointerGetAttributes(ref(out), at) == 0
    return out.type, out.device
cudart.cudaSetDevice(3)
device, pinned, plain = malloc(100), P(), ctypes.create_string_buffer(8)
assert cudart.cudaHostAlloc(ref(pinned), S(100), 0) == 0
print(get_kind(P(device.value + 99)), get_kind(pinned), get_kind(ctypes.addressof(plain))[0])
"""
    assert run(code, tmp_path) == "(2, 3) (1, 0) 0"


def test_streams_events_and_time(tmp_path: Path) -> None:
    code = """
stream, first, second, ms = P(), P(), P(), F()
assert cudart.cudaStreamCreateWithPriority(ref(stream), 1, -2) == 0
for event in (first, second):
    assert cudart.cudaEventCreate(ref(event)) == 0
print(cudart.cudaEventElapsedTime(ref(ms), first, second))  # none recorded yet
assert cudart.cudaEventRecord(first, stream) == 0
assert cudart.cudaEventRecord(second, None) == 0
assert cudart.cudaEventElapsedTime(ref(ms), first, second) == 0
print(ms.value > 0, cudart.cudaStreamSynchronize(stream), cudart.cudaEventQuery(second))
assert cudart.cudaStreamDestroy(stream) == 0
"""
    assert run(code, tmp_path).splitlines() == ["400", "True 0 0"]


def test_a_capture_counts_what_it_would_launch(tmp_path: Path) -> None:
    code = """
stream, module, kernel, graph, runnable = P(), P(), P(), P(), P()
assert cudart.cudaStreamCreate(ref(stream)) == 0
assert cuda.cuModuleLoadData(ref(module), b".version 8.0\\n") == 0
assert cuda.cuModuleGetFunction(ref(kernel), module, b"k") == 0
cuda.cuLaunchKernel.argtypes = [P] + [I] * 7 + [P] * 3
status, count = I(), S()
assert cudart.cudaStreamBeginCapture(stream, 0) == 0
print(cudart.cudaStreamBeginCapture(stream, 0))  # twice
assert cudart.cudaStreamIsCapturing(stream, ref(status)) == 0 and status.value == 1
for _ in range(3):
    assert cuda.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream, None, None) == 0
assert cudart.cudaStreamEndCapture(stream, ref(graph)) == 0
print(cudart.cudaStreamEndCapture(stream, ref(runnable)))  # nothing to end
assert cudart.cudaGraphGetNodes(graph, None, ref(count)) == 0
assert cudart.cudaGraphInstantiateWithFlags(ref(runnable), graph, ctypes.c_ulonglong(0)) == 0
print(count.value, cudart.cudaGraphLaunch(runnable, stream))
print(cuda.cuLaunchKernel(P(ctypes.addressof(status)), 1, 1, 1, 32, 1, 1, 0, stream, None, None))
"""
    assert run(code, tmp_path).splitlines() == ["901", "905", "3 0", "400"]


def test_entry_points_are_found_by_name_and_version(tmp_path: Path) -> None:
    code = """
def ask(name, version):
    out, status = P(), I(-1)
    error = cudart.cudaGetDriverEntryPointByVersion(
        name, ref(out), version, ctypes.c_ulonglong(0), ref(status))
    return error, status.value, out.value
def at(symbol):
    return ctypes.cast(getattr(cuda, symbol), P).value
assert ask(b"cuMemAlloc", 13000) == (0, 0, at("cuMemAlloc_v2"))
assert ask(b"cuStreamGetCaptureInfo", 13000)[2] == at("cuStreamGetCaptureInfo_v3")
assert ask(b"cuEventElapsedTime", 12000)[2] == at("cuEventElapsedTime")
assert ask(b"cuEventElapsedTime", 13000)[2] == at("cuEventElapsedTime_v2")
print(ask(b"cuNothingOfTheKind", 13000))
"""
    assert run(code, tmp_path) == "(500, 1, None)"


def test_what_nobody_wrote_says_so_once_and_is_not_supported(tmp_path: Path) -> None:
    code = """
print(cuda.cuMemCreate(None, S(1), None, 0), cuda.cuMemCreate(None, S(1), None, 0))
print(cudart.cudaExternalMemoryGetMappedBuffer(None, None, None), cudart.cudaGetLastError())
"""
    assert run(code, tmp_path).splitlines() == ["801 801", "801 801"]
    trace = (tmp_path / "trace").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in trace] == [
        "unsupported cuMemCreate",
        "unsupported cudaExternalMemoryGetMappedBuffer",
    ]


@pytest.mark.parametrize(
    "damage", ["", "not an image at all.", "\\x7fELF" + "x" * 80, "\\x7fELF\\x02\\x01"]
)
def test_a_bad_image_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.cubin"
    path.write_bytes(damage.encode().decode("unicode_escape").encode("latin-1"))
    code = f"""
module = P()
print(cuda.cuModuleLoad(ref(module), {str(path)!r}.encode()), module.value)
print(cuda.cuModuleLoad(ref(module), b"/nonexistent/k.cubin"))
"""
    assert run(code, tmp_path).splitlines() == ["200 None", "301"]


KERNEL = r"""
.version 8.0
.target sm_90a
.address_size 64
.visible .entry scale(.param .u64 out, .param .u32 n)
.maxntid 256, 1, 1
{
  .reg .b32 %r<8>; .reg .b64 %d<4>; .shared .align 4 .b8 tile[2048];
  ld.param.u64 %d1, [out]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x;
  mov.u32 %r3, tile; mul.lo.s32 %r4, %r2, 4; add.s32 %r5, %r3, %r4;
  st.shared.u32 [%r5], %r1; bar.sync 0; ld.shared.u32 %r6, [%r5];
  mul.wide.u32 %d2, %r2, 4; add.s64 %d3, %d1, %d2; st.global.u32 [%d3], %r6; ret;
}
"""


def find_ptxas() -> str | None:
    """Triton carries one, and the tests install Triton."""
    import triton

    own = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    return str(own) if own.exists() else shutil.which("ptxas")


def test_a_cubin_is_read(tmp_path: Path) -> None:
    """Registers, shared memory and the thread limit are those that ptxas says it chose."""
    ptxas = find_ptxas()
    assert ptxas is not None
    (tmp_path / "k.ptx").write_text(KERNEL)
    command = [ptxas, "-v", "-arch", "sm_90a", "k.ptx", "-o", "k.cubin"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    registers = int(said.split("Used ")[1].split(" ")[0])
    code = f"""
module, kernel, value = P(), P(), I()
image = open({str(tmp_path / "k.cubin")!r}, "rb").read()
assert cuda.cuModuleLoadData(ref(module), image) == 0
assert cuda.cuModuleGetFunction(ref(kernel), module, b"scale") == 0
def get(number):
    assert cuda.cuFuncGetAttribute(ref(value), number, kernel) == 0
    return value.value
print(get(4), get(1), get(0), get(3), get(6))
print(cuda.cuModuleGetFunction(ref(kernel), module, b"other"))
print(cuda.cuFuncSetAttribute(kernel, 8, 200000), cuda.cuFuncSetAttribute(kernel, 8, 300000))
"""
    assert run(code, tmp_path).splitlines() == [f"{registers} 2048 256 0 90", "500", "0 1"]


def test_the_stand_in_of_a_kernel_is_a_library_of_one(tmp_path: Path) -> None:
    """What `kernels list --check` gives DeepGEMM instead of a compiled one."""
    path = tmp_path / "k.cubin"
    path.write_bytes(make_cubin())
    code = f"""
library, count, kernels, function = P(), I(), (P * 2)(), P()
path = {str(path)!r}.encode()
assert cuda.cuLibraryLoadFromFile(ref(library), path, None, None, 0, None, None, 0) == 0
assert cuda.cuLibraryGetKernelCount(ref(count), library) == 0
assert cuda.cuLibraryEnumerateKernels(kernels, 1, library) == 0
assert cuda.cuKernelGetFunction(ref(function), P(kernels[0])) == 0
print(count.value, function.value is not None)
"""
    assert run(code, tmp_path) == "1 True"


def test_a_truncated_cubin_is_refused(tmp_path: Path) -> None:
    ptxas = find_ptxas()
    assert ptxas is not None
    (tmp_path / "k.ptx").write_text(KERNEL)
    command = [ptxas, "-arch", "sm_90a", "k.ptx", "-o", "k.cubin"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    whole = (tmp_path / "k.cubin").read_bytes()
    (tmp_path / "half.cubin").write_bytes(whole[: len(whole) // 2])
    code = f"""
module = P()
print(cuda.cuModuleLoad(ref(module), {str(tmp_path / "k.cubin")!r}.encode()))
print(cuda.cuModuleLoad(ref(module), {str(tmp_path / "half.cubin")!r}.encode()))
"""
    assert run(code, tmp_path).splitlines() == ["0", "200"]


def test_every_listed_symbol_is_there() -> None:
    """A library without one would not even load: `undefined symbol`."""
    symbols = Path(__file__).parents[2] / "warmup" / "target" / "native" / "symbols"
    for library in ("libcudart", "libcuda", "libcublas", "libcublasLt", "libnccl", "libnvidia-ml"):
        (built,) = get_libraries().glob(f"{library}.so.*[0-9]")
        said = subprocess.run(
            ["nm", "-D", "--defined-only", built], capture_output=True, text=True, check=True
        ).stdout
        defined = {line.split()[2].partition("@")[0] for line in said.splitlines()}
        assert set((symbols / f"{library}.txt").read_text().split()) <= defined
