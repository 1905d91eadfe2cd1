#!/usr/bin/env bash
# Runs all of this bundle on a CUDA device and writes one JSON document.
set -u

usage() {
    cat <<'TEXT'
usage: run [--quick] [--device DEVICE] [--traces DIR] [--record FILE [--left]] DOCUMENT

  DOCUMENT   the JSON file to write: every part that ran, with what it wrote
  --device   cuda (unless given), or cuda:1 and so on
  --traces   a folder of recorded traces (.csv) to replay as well
  --record   a file to which each part is appended as a line of JSON, as soon as it is over
  --left     run only what has not passed in that file
  --quick    small workloads and few samples: to see that everything runs

Each part runs in a process of its own, for at most PART_SECONDS (300 unless set in the environment).
The exit code is 0 if every part passed, 1 if one did not, 2 if the arguments are not accepted.

At most 256 MiB of managed memory are used, and 1 GiB of the device stays free.
TEXT
}

refuse() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}

device=cuda traces= document= quick= record= left=
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --quick) quick=1 ;;
        --left) left=1 ;;
        --device | --traces | --record)
            [ $# -gt 1 ] || refuse "$1 needs a value"
            case $1 in --device) device=$2 ;; --traces) traces=$2 ;; *) record=$2 ;; esac
            shift ;;
        -*) refuse "$1 is not known" ;;
        *)
            [ -z "$document" ] || refuse "one document, not also $1"
            document=$1 ;;
    esac
    shift
done
[ -n "$document" ] || refuse "a document is missing"
[ -z "$traces" ] || [ -d "$traces" ] || refuse "$traces is no folder"
[ -d "$(dirname -- "$document")" ] || refuse "the folder of $document is not there"

[ -z "$left" ] || [ -n "$record" ] || refuse "--left needs --record"
[ -z "$record" ] || touch -- "$record" || refuse "$record cannot be written"

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
failed=0 count=0
started=$(date -u +%Y-%m-%dT%H:%M:%SZ) kernel=$(uname -sr | LC_ALL=C tr -cd 'A-Za-z0-9 ._+-')
# A line that was cut short stays one of its own.
[ -z "$record" ] || [ -z "$(tail -c 1 -- "$record" | tr -d '\n')" ] || echo >> "$record"

# The end of a file as a JSON string.
quoted() {
    local text
    text=$(tail -n 20 -- "$1" | LC_ALL=C tr -d '\000-\010\013-\037\177-\377')
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\t'/\\t}
    text=${text//$'\n'/\\n}
    printf '"%s"' "$text"
}

# part NAME ARGUMENT…: runs the program, shows what it prints, and keeps what it writes.
part() {
    local name=$1 begun=$SECONDS code
    shift
    if [ -n "$left" ] && grep -qF -- "{\"name\": \"$name\", \"exit\": 0," "$record"; then
        return
    fi
    count=$((count + 1))
    echo "==> $name"
    rm -f -- "$scratch/part.json"
    timeout --kill-after=10 "${PART_SECONDS:-300}" \
        "$here/vmem-lab" "$@" --device "$device" --json "$scratch/part.json" 2> "$scratch/log"
    code=$?
    cat "$scratch/log" >&2
    [ "$code" -eq 0 ] || failed=$((failed + 1))
    {
        printf '{"name": "%s", "exit": %d, "seconds": %d,\n' \
            "$name" "$code" "$((SECONDS - begun))"
        printf '"log": %s,\n"document": ' "$(quoted "$scratch/log")"
        if [ -s "$scratch/part.json" ]; then cat "$scratch/part.json"; else echo null; fi
        echo '}'
    } > "$scratch/part"
    { [ "$count" -eq 1 ] || echo ,; cat "$scratch/part"; } >> "$scratch/parts"
    [ -z "$record" ] || {
        printf '{"schema": "vmem-bundle/1", "started": "%s", "kernel": "%s", "parts": [' "$started" "$kernel"
        tr -d '\n' < "$scratch/part"
        echo ']}'
    } >> "$record"
    echo
}

for tier in a b c fallback a-bare a-tight a-chunks plain; do
    part "matrix/$tier" matrix --tier "$tier" --announce
done
part micro micro ${quick:+--samples 5}
for workload in overlay overlay-core overlay-paged overlay-2s dissolve spatial-join random; do
    part "bench/$workload" bench --workload "$workload" ${quick:+--scale 1k} \
        --tier a,b,fallback,a-bare,a-tight,a-chunks,plain
done
if [ -z "$quick" ]; then
    # What programs asked for, once, of up to 22 GiB.
    for log in overlay_1m overlay_100k limit_1gib cupy_programs torch_gpt torch_resnet torch_gnn; do
        part "bench/$log" bench --workload "$log" --tier a,b,fallback,a-bare,plain
    done
fi
if [ -n "$traces" ]; then
    for trace in "$traces"/*.csv; do
        [ -e "$trace" ] || continue
        part "replay/$(basename -- "$trace" .csv | LC_ALL=C tr -cd 'A-Za-z0-9._-')" \
            replay "$trace" --tier a,b,fallback,a-bare,a-tight,a-chunks,plain
    done
fi

{
    printf '{"schema": "vmem-bundle/1", "started": "%s", "kernel": "%s",\n"parts": [\n' \
        "$started" "$kernel"
    [ "$count" -eq 0 ] || cat "$scratch/parts"
    echo ']}'
} > "$scratch/document" && cp -- "$scratch/document" "$document" || exit 1

echo "$count parts, $failed failed: $document"
[ "$failed" -eq 0 ]
