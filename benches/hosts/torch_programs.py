#!/usr/bin/env python3
"""Four PyTorch programs with PyTorch's allocator, with expandable segments, and with vmem for everything.

  PYTHONPATH=<site> python3 torch_programs.py --out DIR [--only gpt,resnet,gnn,decode] [--steps 40] [--solo]

One process a program and allocator; those of a program take turns, step by step, so that their times are pairs, or
run one after the other (`--solo`), so that what the card loses is theirs. A line of `torch.jsonl` each: most held,
most live, what the card lost, the time of each step, the losses, and what a step's requests take inside the
allocator: those of the last step of PyTorch's own allocator are made again, through PyTorch's raw calls.

Inputs are uploaded on a stream of their own, and `record_stream` says that the program's stream uses them.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import machine
import turns


def upload(torch, tensor, side=[]):
    """To the device on a second stream, for the current one, as loaders do that fetch ahead."""
    side = side or side.append(torch.cuda.Stream()) or side
    current = torch.cuda.current_stream()
    with torch.cuda.stream(side[0]):
        there = tensor.pin_memory().cuda(non_blocking=True)
    current.wait_stream(side[0])
    there.record_stream(current)
    return there


def gpt(torch, steps, step):
    """A decoder-only transformer on sequences of varying length, AdamW, bf16 autocast."""
    import torch.nn as nn
    import torch.nn.functional as F

    class Layer(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.h, self.n1, self.n2 = h, nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.qkv(self.n1(x)).view(b, t, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
            x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d))
            return x + self.down(F.gelu(self.up(self.n2(x))))

    vocab, d = 32000, 768
    torch.manual_seed(0)
    emb = nn.Embedding(vocab, d)
    net = nn.Sequential(*[Layer(d, 12) for _ in range(12)])
    head = nn.Linear(d, vocab, bias=False)
    model = nn.ModuleList([emb, net, head]).cuda()
    opt = torch.optim.AdamW(model.parameters(), 3e-4)
    r = torch.Generator().manual_seed(1)
    for i in range(steps):
        t = int(torch.randint(128, 1537, (1,), generator=r))
        b = int(torch.randint(4, 17, (1,), generator=r))
        ids = upload(torch, torch.randint(0, vocab, (b, t), generator=r))

        def run():
            with torch.autocast("cuda", torch.bfloat16):
                out = head(net(emb(ids)))
                loss = F.cross_entropy(out[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))
            loss.backward()
            opt.step()
            opt.zero_grad(set_to_none=True)
            return loss
        step(run)


def resnet(torch, steps, step):
    """ResNet-50 on pictures of several sizes, SGD, channels last."""
    import torch.nn.functional as F
    import torchvision
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    model = torchvision.models.resnet50(weights=None).cuda().to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    r = torch.Generator().manual_seed(2)
    for i in range(steps):
        side = int(torch.randint(5, 12, (1,), generator=r)) * 32
        n = int(torch.randint(16, 97, (1,), generator=r))
        x = upload(torch, torch.randn(n, 3, side, side, generator=r)).to(memory_format=torch.channels_last)
        y = upload(torch, torch.randint(0, 1000, (n,), generator=r))

        def run():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad(set_to_none=True)
            return loss
        step(run)


def gnn(torch, steps, step):
    """A graph network on mini-batches whose nodes and edges vary by an order of magnitude."""
    import torch.nn.functional as F
    torch.manual_seed(0)
    w = [torch.nn.Linear(2 * a, b).cuda() for a, b in ((256, 512), (512, 512), (512, 47))]
    opt = torch.optim.Adam([p for m in w for p in m.parameters()], 1e-3)
    r = torch.Generator().manual_seed(3)
    for i in range(steps):
        n = int(2 ** (float(torch.rand(1, generator=r)) * 4 + 14))
        e = n * int(torch.randint(4, 25, (1,), generator=r))
        x = upload(torch, torch.randn(n, 256, generator=r))
        edges = upload(torch, torch.randint(0, n, (2, e), generator=r))
        y = upload(torch, torch.randint(0, 47, (n,), generator=r))

        def run():
            h = x
            for k, m in enumerate(w):
                msg = h[edges[0]]
                agg = torch.zeros(n, h.shape[1], device="cuda").index_add(0, edges[1], msg)
                h = m(torch.cat([h, agg], 1))
                h = F.relu(h) if k < 2 else h
            loss = F.cross_entropy(h, y)
            loss.backward()
            opt.step()
            opt.zero_grad(set_to_none=True)
            return loss
        step(run)


def decode(torch, steps, step):
    """Token by token generation of requests that come and go, keys and values grown by concatenation."""
    import torch.nn.functional as F
    torch.manual_seed(0)
    layers, d, heads = 24, 2048, 16
    w = torch.randn(layers, 4, d, d, device="cuda", dtype=torch.bfloat16) * 0.02
    r = torch.Generator().manual_seed(4)
    live = []
    with torch.no_grad():
        for i in range(steps):
            while len(live) < 8:
                t = int(torch.randint(64, 2049, (1,), generator=r))
                live.append([int(torch.randint(4, 40, (1,), generator=r)),
                             [torch.randn(2, heads, t, d // heads, device="cuda", dtype=torch.bfloat16) for _ in range(layers)]])

            def run():
                out = 0.0
                for req in live:
                    x = torch.randn(1, d, device="cuda", dtype=torch.bfloat16)
                    for k in range(layers):
                        q, kk, v = (x @ w[k, 0], x @ w[k, 1], x @ w[k, 2])
                        new = torch.stack([kk, v]).view(2, heads, 1, d // heads)
                        req[1][k] = torch.cat([req[1][k], new], 2)
                        a = F.scaled_dot_product_attention(q.view(heads, 1, -1), req[1][k][0], req[1][k][1])
                        x = x + a.reshape(1, d) @ w[k, 3]
                    out = out + x.float().mean()
                    req[0] -= 1
                live[:] = [q for q in live if q[0] > 0]
                return out
            step(run)


PROGRAMS = {"gpt": gpt, "resnet": resnet, "gnn": gnn, "decode": decode}


def install(torch, alloc):
    """The allocator; returns (held, most held, most live) in bytes."""
    if alloc.startswith("vmem"):
        import vmem_gpu
        import vmem_gpu.torch as v
        if alloc == "vmem-lazy":
            vmem_gpu.open(0, footprint="lazy")
        v.install()
        rt = vmem_gpu.runtime(0)

        def figures():
            s = rt.stats()
            return s.reserved, s.peak_reserved, s.peak_bytes, s.total_blocks
        return figures

    def figures():
        s = torch.cuda.memory_stats()
        return s["reserved_bytes.all.current"], s["reserved_bytes.all.peak"], s["allocated_bytes.all.peak"], s["allocation.all.allocated"]
    return figures


def requests(torch, file, run):
    """Runs a step of PyTorch's own allocator and writes its requests: sizes, and -k for the end of the k-th."""
    torch.cuda.memory._record_memory_history(enabled="all", context=None, max_entries=1 << 20)
    loss = run()
    torch.cuda.synchronize()
    trace = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    made, begun, live = [], 0, {}
    for entry in trace:
        if entry["action"] == "alloc":
            begun += 1
            live[entry["addr"]] = begun
            made.append(entry["size"])
        elif entry["action"] == "free_requested" and entry["addr"] in live:
            made.append(-live.pop(entry["addr"]))
    with open(file, "w") as f:
        json.dump(made, f)
    return loss


def inside(torch, file, rounds=30):
    """Milliseconds that the requests of a step take in PyTorch's raw calls, by round, and how many they are."""
    try:
        with open(file) as f:
            made = json.load(f)
    except OSError:
        return None
    allocate, free = torch._C._cuda_cudaCachingAllocator_raw_alloc, torch._C._cuda_cudaCachingAllocator_raw_delete
    stream, out = torch.cuda.current_stream().cuda_stream, []
    for _ in range(rounds):
        live, begun = {}, 0
        torch.cuda.synchronize()
        start = time.perf_counter()
        for size in made:
            if size < 0:
                free(live.pop(-size))
            else:
                begun += 1
                live[begun] = allocate(size, stream)
        out.append(1e3 * (time.perf_counter() - start))
        for address in live.values():
            free(address)
    return {"calls": len(made), "median_ms": round(statistics.median(out), 4), "rounds": [round(x, 4) for x in out]}


def child(name, alloc, steps, file):
    import torch
    torch.use_deterministic_algorithms(False)
    figures = install(torch, alloc)
    free0 = torch.cuda.mem_get_info()[0]
    times, losses, low = [], [], [free0]

    def step(run):
        torch.cuda.synchronize()
        a = time.perf_counter()
        last = alloc == "native" and len(times) == steps - 1
        loss = requests(torch, file, run) if last else run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - a)
        losses.append(float(loss))
        low.append(torch.cuda.mem_get_info()[0])
        turns.over()
    PROGRAMS[name](torch, steps, step)
    held, peak, live, blocks = figures()
    made = inside(torch, file)
    turns.over()
    print("RESULT " + json.dumps({
        "program": name, "alloc": alloc, "steps": steps, "held": held, "peak_held": peak, "peak_live": live, "blocks": blocks,
        "lost": free0 - min(low), "inside": made, "median_ms": round(1e3 * statistics.median(times), 3),
        "first_ms": round(1e3 * times[0], 1), "total_s": round(sum(times), 3), "losses": losses,
        "times": [round(1e3 * t, 3) for t in times]}), flush=True)
    os._exit(0)


def collect(process, limit):
    """What a child said, as a line."""
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        return {"error": "time limit"}
    line = [x for x in out.splitlines() if x.startswith("RESULT ")]
    return json.loads(line[-1][7:]) if line else {"error": out[-300:] + err[-1500:]}


def together(start, allocs, limit):
    """The children of a program, which take turns."""
    begun = {alloc: start(alloc) for alloc in allocs}
    deadline = time.monotonic() + limit
    watch = threading.Timer(limit, lambda: [process.kill() for process, _ in begun.values()])
    watch.start()
    turns.take_turns([side for _, side in begun.values()])
    lines = {alloc: collect(process, max(1, deadline - time.monotonic())) for alloc, (process, _) in begun.items()}
    watch.cancel()
    return lines


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.environ.get("OUT", "out"))
    ap.add_argument("--only", default=",".join(PROGRAMS))
    ap.add_argument("--allocs", default="native,vmem,expandable,vmem-lazy")
    ap.add_argument("--steps", type=int, default=40)
    ap.add_argument("--warm", type=int, default=10, help="steps whose times are in no ratio")
    ap.add_argument("--solo", action="store_true")
    ap.add_argument("--limit", type=int, default=120, help="seconds for a program")
    ap.add_argument("--child", nargs=4)
    a = ap.parse_args()
    if a.child:
        return child(a.child[0], a.child[1], int(a.child[2]), a.child[3])
    os.makedirs(a.out, exist_ok=True)
    machine.append(os.path.join(a.out, "torch.jsonl"))
    for name in a.only.split(","):
        made = os.path.join(a.out, "requests.%s.json" % name)

        def start(alloc):
            env = dict(os.environ)
            env.pop("PYTORCH_CUDA_ALLOC_CONF", None)
            if alloc == "expandable":
                env["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
            command = [sys.executable, os.path.abspath(__file__), "--child", name, alloc, str(a.steps), made]
            return turns.start(command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        allocs, lines = a.allocs.split(","), {}
        for group in [[alloc] for alloc in allocs] if a.solo else [allocs]:
            lines.update(together(start, group, a.limit))
        base = lines.get("native", {}).get("times", [])[a.warm:-1]
        for alloc, line in lines.items():
            line = dict({"program": name, "alloc": alloc, "solo": a.solo}, **line)
            if not a.solo and base:
                line["over_native"] = turns.ratio(line.get("times", [])[a.warm:-1], base)
            with open(os.path.join(a.out, "torch.jsonl"), "a") as f:
                f.write(json.dumps(line) + "\n")
            short = {k: v for k, v in line.items() if k not in ("losses", "times", "inside")}
            short["inside_ms"], short["last"] = (line.get("inside") or {}).get("median_ms"), (line.get("losses") or [None])[-1]
            print("TORCH " + json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
