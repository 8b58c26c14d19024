// A plane of the latent space: codes as points, or the images that its points decode to, and a handle to drag.

const MARGIN = 14; // pixels around the box, in which half a point may lie

class Plane {
  // told: an element that codes, pictures and the handle are drawn in; space: what the explorer knows of the codes.
  constructor(box, space, changed) {
    this.box = box;
    this.space = space;
    this.changed = changed; // called with a new code, and the number of the test image if it is one's
    this.axes = space.directions.length > 1 ? ["p0", "p1"] : ["0"];
    if (space.latent <= 2) this.axes = ["0", "1"].slice(0, space.latent);
    this.tiles = null;
    this.under = element(box, "canvas");
    this.over = element(box, "canvas", { tabindex: 0, role: "application", "aria-roledescription": "plane" });
    this.setAxes(...this.axes);
    this.over.addEventListener("pointerdown", (event) => this.press(event));
    this.over.addEventListener("pointermove", (event) => this.held && this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) this.over.addEventListener(kind, (event) => this.release(event));
    this.over.addEventListener("keydown", (event) => this.key(event));
  }

  // Each axis is a latent dimension ("3") or a principal axis of the codes ("p0").
  setAxes(...axes) {
    const { latent, codes, mean, directions, count } = this.space;
    this.axes = axes;
    this.vectors = axes.map((axis) => {
      if (axis.startsWith("p")) return directions[Number(axis.slice(1))];
      return Float32Array.from({ length: latent }, (_, n) => Number(n === Number(axis)));
    });
    this.origin = axes.some((axis) => axis.startsWith("p")) ? mean : new Float32Array(latent);
    // Of two axes that are not at right angles, a step along one is seen along both.
    const [a, b = a] = this.vectors, aa = dot(a, a), bb = dot(b, b), ab = dot(a, b), det = aa * bb - ab * ab || 1;
    this.inverse = axes.length > 1 ? [bb / det, -ab / det, -ab / det, aa / det] : [1 / aa, 0, 0, 0];
    this.points = new Float32Array(2 * count);
    for (let n = 0; n < count; n++) this.points.set(this.seen(codes.subarray(n * latent, (n + 1) * latent), n), 2 * n);
    const ranges = [0, 1].map((axis) => this.range(axis));
    if (axes.length > 1) { // the same scale on both
      const half = Math.max(...ranges.map(([low, high]) => (high - low) / 2));
      ranges.forEach((range) => { const middle = (range[0] + range[1]) / 2; range[0] = middle - half; range[1] = middle + half; });
    }
    this.ranges = ranges;
    this.tiles = null;
  }

  range(axis) {
    if (axis >= this.axes.length) return [0, 1];
    const values = Float32Array.from(this.points.filter((_, n) => n % 2 === axis)).sort();
    const low = values[Math.floor(0.003 * values.length)], high = values[Math.ceil(0.997 * values.length) - 1];
    const room = Math.max(0.5, 0.08 * (high - low));
    return [low - room, high + room];
  }

  // Where a code is seen: its place along the axes. One axis alone leaves the height to the classes.
  seen(code, number) {
    const { labels, classes } = this.space;
    const away = code.map((value, n) => value - this.origin[n]), at = this.vectors.map((vector) => dot(away, vector));
    if (at.length > 1) return at;
    if (number === undefined) return [at[0], 0.5];
    const row = labels ? classes - 1 - labels[number] : 0, jitter = ((number * 0.618034) % 1) - 0.5;
    return [at[0], (row + 0.5 + 0.7 * jitter) / (labels ? classes : 1)];
  }

  // The code at a place: the nearest one to a given code.
  codeAt(place, near) {
    const now = this.seen(near), step = place.map((value, n) => (n < this.axes.length ? value - now[n] : 0));
    const [a, b, c, d] = this.inverse, along = [a * step[0] + b * step[1], c * step[0] + d * step[1]];
    return near.map((value, n) => value + this.vectors.reduce((sum, vector, axis) => sum + along[axis] * vector[n], 0));
  }

  toPixel([x, y]) {
    const [[left, right], [bottom, top]] = this.ranges, side = [this.width, this.height].map((one) => one - 2 * MARGIN);
    return [MARGIN + ((x - left) / (right - left)) * side[0], MARGIN + ((top - y) / (top - bottom)) * side[1]];
  }

  toPlace([x, y]) {
    const [[left, right], [bottom, top]] = this.ranges, side = [this.width, this.height].map((one) => one - 2 * MARGIN);
    const share = [(x - MARGIN) / side[0], (y - MARGIN) / side[1]].map((one) => Math.min(1, Math.max(0, one)));
    return [left + share[0] * (right - left), top - share[1] * (top - bottom)];
  }

  pixelOf(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    this.over.setPointerCapture(event.pointerId);
    this.held = { from: this.pixelOf(event), moved: false };
    this.drag(event);
  }

  drag(event) {
    const pixel = this.pixelOf(event);
    this.held.moved ||= Math.hypot(pixel[0] - this.held.from[0], pixel[1] - this.held.from[1]) > 3;
    this.changed(this.codeAt(this.toPlace(pixel), this.code));
  }

  release(event) {
    if (!this.held) return;
    const { moved } = this.held;
    this.held = null;
    const near = moved || this.mode !== "codes" ? -1 : this.pointNear(this.pixelOf(event), 7);
    if (near >= 0) this.pick(near);
  }

  pick(number) {
    const { latent, codes } = this.space;
    this.changed(codes.slice(number * latent, (number + 1) * latent), number);
  }

  pointNear([x, y], most) {
    let found = -1, least = most * most;
    for (let n = 0; n < this.space.count; n++) {
      const [px, py] = this.toPixel([this.points[2 * n], this.points[2 * n + 1]]);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [found, least] = [n, distance];
    }
    return found;
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Enter") this.pick(this.space.nearest(this.code));
    if (!step) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.5 : 0.1, now = this.seen(this.code);
    const place = this.toPlace(this.toPixel(now.map((value, n) => value + size * step[n])));
    this.changed(this.codeAt(place, this.code));
  }

  resize() {
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    this.ratio = Math.min(3, window.devicePixelRatio || 1);
    for (const canvas of [this.under, this.over]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
  }

  pen(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    return pen;
  }

  // The layer that stays while the handle moves.
  drawUnder(theme, told) {
    const pen = this.pen(this.under);
    if (this.mode === "codes") this.drawLines(pen, theme);
    else if (this.tiles) this.drawTiles(pen);
    if (this.mode === "codes") this.drawPoints(pen, theme, told);
  }

  drawLines(pen, theme) {
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    this.ranges.slice(0, this.axes.length).forEach(([low, high], axis) => {
      const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((one) => (high - low) / one <= 9) ?? (high - low) / 5;
      for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
        const [x, y] = this.toPixel(axis ? [this.ranges[0][0], value] : [value, this.ranges[1][0]]);
        pen.strokeStyle = theme.line;
        pen.globalAlpha = Math.abs(value) < 1e-9 ? 1 : 0.5;
        pen.beginPath();
        if (axis) pen.moveTo(0, Math.round(y) + 0.5), pen.lineTo(this.width, Math.round(y) + 0.5);
        else pen.moveTo(Math.round(x) + 0.5, 0), pen.lineTo(Math.round(x) + 0.5, this.height);
        pen.stroke();
        pen.globalAlpha = 1;
        pen.fillStyle = theme.soft;
        const text = String(Number(value.toFixed(3))).replace("-", "\u2212");
        if (axis) pen.fillText(text, 4, y - 3);
        else pen.fillText(text, x + 3, this.height - 5);
      }
    });
  }

  // Of a model that is told the class, the codes of one class stand out: those of the others lie in the same places.
  drawPoints(pen, theme, told) {
    const { count, labels, classes } = this.space, radius = count > 800 ? 2.1 : 3;
    for (let n = 0; n < count; n++) {
      pen.globalAlpha = told === null || !labels || labels[n] === told ? 0.8 : 0.15;
      const [x, y] = this.toPixel([this.points[2 * n], this.points[2 * n + 1]]);
      pen.fillStyle = labels ? theme.colours[labels[n] % theme.colours.length] : theme.soft;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (!labels || classes > 12 || told !== null) return;
    pen.font = "600 13px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    pen.strokeStyle = theme.paper;
    pen.fillStyle = theme.ink;
    for (const { text, x, y } of apart(this.middles(), (text) => pen.measureText(text).width + 4, 15)) {
      pen.strokeText(text, x, y + 4);
      pen.fillText(text, x, y + 4);
    }
    pen.textAlign = "left";
  }

  // The names of the classes, each at the median of its codes.
  middles() {
    const { count, labels, classes, names } = this.space, found = [];
    for (let label = 0; label < classes; label++) {
      const own = [0, 1].map((axis) => Float32Array.from(
        Array.from({ length: count }, (_, n) => n).filter((n) => labels[n] === label), (n) => this.points[2 * n + axis]).sort());
      if (!own[0].length) continue;
      const [x, y] = this.toPixel(own.map((values) => values[values.length >> 1]));
      found.push({ text: names[label], x, y });
    }
    return found;
  }

  // Places of the images that fill the box, one after the other.
  *places(side) {
    const rows = this.axes.length > 1 ? side : 1;
    const wide = (this.width - 2 * MARGIN) / side, high = (this.height - 2 * MARGIN) / rows;
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < side; column++) {
        const corner = [MARGIN + column * wide, MARGIN + row * high];
        yield { row, column, place: this.toPlace([corner[0] + wide / 2, corner[1] + high / 2]) };
      }
  }

  drawTiles(pen) {
    pen.imageSmoothingEnabled = false;
    const { canvas, shape: [, height, width], side } = this.tiles, wide = this.width - 2 * MARGIN;
    if (this.axes.length > 1) pen.drawImage(canvas, MARGIN, MARGIN, wide, this.height - 2 * MARGIN);
    else { // one row, in its own proportions
      const high = ((wide / side) * height) / width;
      pen.drawImage(canvas, 0, 0, side * width, height, MARGIN, (this.height - high) / 2, wide, high);
    }
  }

  // The layer of the handle: where the code is, what it decodes to, and the way between two ends.
  drawOver(theme, picture, ends, ring) {
    const pen = this.pen(this.over), [x, y] = this.toPixel(this.seen(this.code));
    if (ends) {
      const [from, to] = ends.map((end) => this.toPixel(this.seen(end)));
      pen.globalAlpha = 0.6;
      pen.setLineDash([4, 4]);
      haloed(pen, theme, 1, () => { pen.moveTo(...from), pen.lineTo(...to); });
      pen.setLineDash([]);
      pen.globalAlpha = 1;
      [from, to].forEach((at, n) => letter(pen, theme, "AB"[n], at));
    }
    if (ring) this.drawRing(pen, theme, ring);
    if (this.axes.length === 1) haloed(pen, { ...theme, ink: theme.accent }, 1.5, () => { pen.moveTo(x, 0), pen.lineTo(x, this.height); });
    const side = Math.max(48, Math.min(68, this.width / 7)), [width, height] = [picture.width, picture.height];
    const wide = width < height ? (side * width) / height : side, high = width > height ? (side * height) / width : side;
    const left = Math.min(this.width - wide - 4, Math.max(4, x - wide / 2));
    const top = y - high - 18 < 4 ? y + 18 : y - high - 18;
    pen.fillStyle = theme.accent;
    pen.beginPath(), pen.roundRect(left - 2, top - 2, wide + 4, high + 4, 4), pen.fill();
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, left, top, wide, high);
    haloed(pen, { ...theme, ink: theme.accent }, 2.5, () => pen.arc(x, y, 7, 0, 7));
  }

  // Two standard deviations of the posterior of the image that is drawn.
  drawRing(pen, theme, { mean, spread }) {
    const [x, y] = this.toPixel(this.seen(mean));
    const size = [0, 1].map((axis) => {
      const vector = this.vectors[axis];
      return vector ? 2 * Math.sqrt(vector.reduce((sum, one, n) => sum + (one * spread[n]) ** 2, 0)) : 0;
    });
    const [right, top] = this.toPixel(this.seen(mean).map((one, n) => one + size[n]));
    if (this.axes.length === 1) { // a band, since the height says nothing
      pen.globalAlpha = 0.15;
      pen.fillStyle = theme.ink;
      pen.fillRect(2 * x - right, 0, 2 * (right - x), this.height);
      pen.globalAlpha = 1;
      return;
    }
    haloed(pen, theme, 1.5, () => pen.ellipse(x, y, Math.max(2, right - x), Math.max(2, y - top), 0, 0, 7));
  }
}

// Texts that lay on each other, moved apart along the way that is shorter.
function apart(texts, widthOf, high) {
  const moved = texts.map((one) => ({ ...one, wide: widthOf(one.text) }));
  for (let turn = 0; turn < 30; turn++)
    moved.forEach((a, n) => moved.slice(n + 1).forEach((b) => {
      const across = (a.wide + b.wide) / 2 - Math.abs(a.x - b.x), up = high - Math.abs(a.y - b.y);
      if (across <= 0 || up <= 0) return;
      const axis = across < up ? "x" : "y", step = (a[axis] <= b[axis] ? 1 : -1) * Math.min(across, up) / 2;
      a[axis] -= step;
      b[axis] += step;
    }));
  return moved;
}

// A line that is seen on codes and on images.
function haloed(pen, theme, width, path) {
  for (const [colour, more] of [[theme.paper, 2.5], [theme.ink, 0]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width + more;
    pen.beginPath(), path(), pen.stroke();
  }
}

function letter(pen, theme, text, [x, y]) {
  pen.fillStyle = theme.ink;
  haloed(pen, { ...theme, ink: theme.paper }, 2, () => pen.arc(x, y, 9, 0, 7));
  pen.beginPath(), pen.arc(x, y, 9, 0, 7), pen.fill();
  pen.font = "600 11px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillStyle = theme.paper;
  pen.fillText(text, x, y + 4);
  pen.textAlign = "left";
}

function dot(a, b) {
  let sum = 0;
  for (let n = 0; n < a.length; n++) sum += a[n] * b[n];
  return sum;
}

// A new element with attributes in a parent.
function element(parent, tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}
