"""Exits and forks, each in a process of its own."""

LIVE = """
import vmem_gpu
gpu = vmem_gpu.open(0, "VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M")
"""


def test_a_program_ends_with_live_blocks(child):
    assert child(LIVE + "block = gpu.allocate(1000)\nprint('end')") == "end\n"


def test_a_program_ends_with_blocks_in_cycles(child):
    program = LIVE + "class Node: pass\nnode = Node()\nnode.me = node\nnode.block = gpu.allocate(1000)\nprint('end')"
    assert child(program) == "end\n"


def test_what_is_freed_after_atexit_is_dropped(child):
    program = (
        "import atexit, ctypes\n"
        "def after():\n"
        "    blocks.clear(); vmem_gpu.free(address)\n"
        "    print(gpu.stats().blocks, calls() == before)\n"
        # Registered before vmem's own, and so run after it.
        "atexit.register(after)\n" + LIVE + "blocks = [gpu.allocate(1000)]\naddress = gpu.allocate_address(10)\n"
        "def calls():\n"
        "    answer = ctypes.create_string_buffer(1 << 16)\n"
        "    ctypes.CDLL('libcuda.so.1').vmemSimDriverControl(b'calls', answer, len(answer))\n"
        "    return answer.value\n"
        "before = calls()"
    )
    assert child(program) == "2 True\n"


def test_after_atexit_reclaimers_are_skipped_and_the_refusal_says_so(child):
    program = (
        "import atexit\n"
        "def after():\n"
        "    try: gpu.allocate(48 << 20)\n"
        "    except MemoryError as refused: print('not asked' in str(refused))\n"
        "atexit.register(after)\n" + LIVE + "block = gpu.allocate(40 << 20)\n"
        "gpu.reclaimer(lambda wanted: print('asked'))"
    )
    assert child(program) == "True\n"


def test_a_program_ends_while_a_reclaimer_runs_in_a_daemon_thread(child):
    program = LIVE + (
        "import threading, time\n"
        "block = gpu.allocate(40 << 20)\n"
        "running = threading.Event()\n"
        "@gpu.reclaimer\n"
        "def slow(wanted):\n"
        "    running.set(); time.sleep(600)\n"
        "threading.Thread(target=lambda: gpu.allocate(48 << 20), daemon=True).start()\n"
        "running.wait(60)\n"
        "print('end')"
    )
    assert child(program) == "end\n"


def test_a_child_of_a_fork_is_refused_and_ends_well(child):
    program = LIVE + (
        "import os\n"
        "block = gpu.allocate(1000)\n"
        "if os.fork() == 0:\n"
        "    try: gpu.allocate(1)\n"
        "    except vmem_gpu.Error as error: print(error.status, flush=True)\n"
        "    del block\n"
        "else:\n"
        "    print(os.wait()[1], flush=True)"
    )
    assert child(program) == "VMEM_ERROR_FORKED\n0\n"
