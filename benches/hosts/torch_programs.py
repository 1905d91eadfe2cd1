#!/usr/bin/env python3
"""Four PyTorch programs with PyTorch's allocator, with expandable segments, and with vmem for everything.

  PYTHONPATH=<site> python3 torch_programs.py --out DIR [--only gpt,resnet,gnn,decode] [--steps 40] [--runs 1]

One process a program, allocator and run; a line of `torch.jsonl` each: most held, most live, what the card lost,
the time of each step, the losses.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


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
        ids = torch.randint(0, vocab, (b, t), generator=r).cuda()

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
        x = torch.randn(n, 3, side, side, generator=r).cuda().to(memory_format=torch.channels_last)
        y = torch.randint(0, 1000, (n,), generator=r).cuda()

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
        x = torch.randn(n, 256, generator=r).cuda()
        edges = torch.randint(0, n, (2, e), generator=r).cuda()
        y = torch.randint(0, 47, (n,), generator=r).cuda()

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
        if alloc == "vmem-tight":
            vmem_gpu.open(0, footprint="tight")
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


def child(name, alloc, steps):
    import torch
    torch.use_deterministic_algorithms(False)
    figures = install(torch, alloc)
    free0 = torch.cuda.mem_get_info()[0]
    times, losses, low = [], [], [free0]

    def step(run):
        torch.cuda.synchronize()
        a = time.perf_counter()
        loss = run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - a)
        losses.append(float(loss))
        low.append(torch.cuda.mem_get_info()[0])
    PROGRAMS[name](torch, steps, step)
    held, peak, live, blocks = figures()
    print("RESULT " + json.dumps({
        "program": name, "alloc": alloc, "steps": steps, "held": held, "peak_held": peak, "peak_live": live, "blocks": blocks, "lost": free0 - min(low),
        "median_ms": round(1e3 * statistics.median(times), 3), "first_ms": round(1e3 * times[0], 1), "total_s": round(sum(times), 3), "losses": losses, "times": [round(1e3 * t, 3) for t in times]}), flush=True)
    os._exit(0)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", default=os.environ.get("OUT", "out"))
    ap.add_argument("--only", default=",".join(PROGRAMS))
    ap.add_argument("--allocs", default="native,vmem,expandable,vmem-tight")
    ap.add_argument("--steps", type=int, default=40)
    ap.add_argument("--runs", type=int, default=1)
    ap.add_argument("--limit", type=int, default=120)
    ap.add_argument("--child", nargs=3)
    a = ap.parse_args()
    if a.child:
        return child(a.child[0], a.child[1], int(a.child[2]))
    os.makedirs(a.out, exist_ok=True)
    for run in range(a.runs):
        for name in a.only.split(","):
            for alloc in a.allocs.split(","):
                env = dict(os.environ)
                env.pop("PYTORCH_CUDA_ALLOC_CONF", None)
                if alloc == "expandable":
                    env["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
                cmd = [sys.executable, os.path.abspath(__file__), "--child", name, alloc, str(a.steps)]
                try:
                    r = subprocess.run(cmd, env=env, capture_output=True, text=True, timeout=a.limit)
                    line = [x for x in r.stdout.splitlines() if x.startswith("RESULT ")]
                    res = json.loads(line[-1][7:]) if line else {"program": name, "alloc": alloc, "error": (r.stdout[-300:] + r.stderr[-1500:])}
                except subprocess.TimeoutExpired:
                    res = {"program": name, "alloc": alloc, "error": "time limit"}
                with open(os.path.join(a.out, "torch.jsonl"), "a") as f:
                    f.write(json.dumps(res) + "\n")
                short = {k: v for k, v in res.items() if k not in ("losses", "times")}
                short["last"] = (res.get("losses") or [None])[-1]
                print("TORCH " + json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
