// The address space: over time as a map, at one moment as a strip.

const KINDS = ['free', 'pending', 'in quarantine', 'mapped elsewhere', 'being worked on'];
const MEANINGS = {
  0: 'no work touches it',
  1: 'freed, and work queued before may still touch it: its own stream reuses it at once, others behind a wait',
  3: 'addresses whose memory is in use at other addresses',
};
const LIVE = 5;
const NOTHING = 255;

/** How many rows the map has. */
const ROWS = 256;

/** What each row of each frame mostly is. */
function mapOf(stack, frames) {
  const cells = new Uint8Array(frames.length * ROWS).fill(NOTHING);
  const row = stack.length / ROWS || 1;
  const best = new Float64Array(ROWS);
  frames.forEach((frame, f) => {
    best.fill(row * 0.02);
    for (let i = 0; i < frame.start.length; i++) {
      const last = Math.min(ROWS - 1, Math.floor((frame.end[i] - 1e-9) / row));
      for (let r = Math.floor(frame.start[i] / row); r <= last; r++) {
        const shared = Math.min(frame.end[i], (r + 1) * row) - Math.max(frame.start[i], r * row);
        if (shared > best[r]) {
          best[r] = shared;
          cells[f * ROWS + r] = frame.kind[i];
        }
      }
    }
  });
  return cells;
}

const kindColour = kind => (kind >= LIVE ? colours.groups[(kind - LIVE) % 12] : colours.kinds[kind]);

/** A colour's four bytes. */
function bytesOf(colour) {
  const hex = colour.replace('#', '');
  return [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16)).concat(255);
}

/** Addresses upwards, the trace from left to right. */
function drawSpace(data, i) {
  layered(`space-${i}`, 190, p => spaceBase(p, data, i), marks);
}

function spaceBase(p, data, i) {
  const { context: c } = p;
  const [stack, frames] = [about.stacks[i], data.frames[i]];
  const width = Math.max(1, Math.round(p.columns * p.ratio));
  const image = new ImageData(width, ROWS);
  const pixels = new Uint32Array(image.data.buffer);
  const palette = new Uint32Array(256);
  for (let kind = 0; kind < LIVE + 12; kind++) {
    const [r, g, b, a] = bytesOf(kindColour(kind));
    palette[kind] = (a << 24) | (b << 16) | (g << 8) | r;
  }
  for (let x = 0; x < width; x++) {
    const event = view.from + ((x + 1) * (view.to - view.from)) / width - 1;
    const f = frameAt(frames, Math.max(event, 0));
    if (f < 0 || (stack.refused !== null && event > stack.refused + (view.to - view.from) / width)) continue;
    for (let r = 0; r < ROWS; r++) {
      pixels[(ROWS - 1 - r) * width + x] = palette[frames.cells[f * ROWS + r]];
    }
  }
  const drawn = (frames.canvas ??= document.createElement('canvas'));
  drawn.width = width;
  drawn.height = ROWS;
  drawn.getContext('2d').putImageData(image, 0, 0);
  axes(p, Math.max(1, stack.length), short, true);
  c.imageSmoothingEnabled = false;
  c.drawImage(drawn, p.left, p.top, p.columns, p.bottom - p.top);
  for (const [place] of stack.pieces.slice(1)) {
    // Addresses with nothing between them that ever had memory.
    const y = Math.round(p.bottom - (place / stack.length) * (p.bottom - p.top)) + 0.5;
    c.strokeStyle = colours.grid;
    c.setLineDash([1, 3]);
    c.beginPath();
    c.moveTo(p.left, y);
    c.lineTo(p.right, y);
    c.stroke();
    c.setLineDash([]);
  }
}

/** The address space at the moment pointed at, to the byte. */
function drawStrip(data, i) {
  const p = plot(`strip-${i}`, 46);
  p.bottom = 42;
  p.top = 4;
  const { context: c } = p;
  const [stack, frames] = [about.stacks[i], data.frames[i]];
  const f = frameAt(frames, view.at);
  c.strokeStyle = colours.grid;
  c.strokeRect(p.left - 0.5, p.top - 0.5, p.columns + 1, p.bottom - p.top + 1);
  if (f < 0) return;
  const { start, end, kind } = frames.frames[f];
  const scale = p.columns / Math.max(1, stack.length);
  for (let r = 0; r < start.length; r++) {
    c.fillStyle = kindColour(kind[r]);
    c.fillRect(p.left + start[r] * scale, p.top, Math.max(0.4, (end[r] - start[r]) * scale), p.bottom - p.top);
  }
}

/** What is at a place of the axis, in words. */
function placeInWords(data, i, place) {
  const [stack, frames] = [about.stacks[i], data.frames[i]];
  const f = frameAt(frames, view.at);
  if (f < 0) return '';
  const { start, end, kind } = frames.frames[f];
  const r = start.findIndex((from, n) => from <= place && place < end[n]);
  if (r < 0) return 'no memory here';
  const piece = stack.pieces.filter(([at]) => at <= start[r]).pop();
  const address = BigInt(piece[1]) + BigInt(Math.round(start[r] - piece[0]));
  const names = about.groupings[about.telling].names;
  const what = kind[r] >= LIVE ? `live: ${names[kind[r] - LIVE]}` : KINDS[kind[r]];
  return `${what}, ${shown(end[r] - start[r])} at 0x${address.toString(16)}`;
}
