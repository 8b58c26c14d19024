// The explorer: one code of the latent space, and everything on the page that shows it or changes it.

const STEPS = 9; // images from one end to the other
const SAMPLES = 24;
const SIDE = 16; // images along a side of the plane
const SLICE = 8; // milliseconds of a frame for images that may come later
const NAMES = 30; // classes that are named beside their colours
const HINTS = {
  codes: "Drag the handle, or move it with the arrow keys. A click on a point takes that test image.",
  images: "Each image is what its place on the plane decodes to. Drag the handle, or move it with the arrow keys.",
};

const MARKUP = `
<div class="top">
  <section class="card" aria-label="Latent plane">
    <div class="bar">
      <fieldset class="choice"><legend>Plane shows</legend>
        <label><input type="radio" name="mode" value="codes" checked><span>Codes</span></label>
        <label><input type="radio" name="mode" value="images"><span>Images</span></label>
      </fieldset>
      <span class="axes" data-is="axes">
        <label>across <select data-is="across"></select></label>
        <label>up <select data-is="up"></select></label>
      </span>
    </div>
    <div class="plane" data-is="plane"></div>
    <p class="legend" data-is="legend"></p>
    <div class="foot"><p class="soft" data-is="hint"></p>
      <button type="button" class="quiet" data-is="savePlane">Save PNG</button></div>
  </section>
  <section class="card" aria-label="Decoded image">
    <div class="bar">
      <fieldset class="choice"><legend>Decoded image shows</legend>
        <label><input type="radio" name="shown" value="image" checked><span>Mean</span></label>
        <label><input type="radio" name="shown" value="spread"><span>Spread</span></label>
      </fieldset>
      <button type="button" class="quiet" data-is="saveDigit">Save PNG</button>
    </div>
    <div class="pair">
      <canvas class="digit" data-is="digit" role="img"></canvas>
      <p class="soft" data-is="about"></p>
    </div>
    <fieldset class="choice classes" data-is="classes"><legend>Class to decode</legend></fieldset>
    <div class="sliders" data-is="sliders"></div>
    <details data-is="more"><summary></summary><div class="sliders" data-is="rest"></div></details>
    <button type="button" class="quiet" data-is="middle">Back to the middle</button>
  </section>
</div>
<div class="bottom" data-is="bottom">
  <section class="card">
    <h2>Your own</h2>
    <div class="drawing">
      <figure><canvas class="pad" data-is="pad"></canvas><figcaption>Draw here</figcaption></figure>
      <figure><canvas class="digit" data-is="encoded" role="img" aria-label="The image that is encoded"></canvas>
        <figcaption>encoded</figcaption></figure>
      <figure><canvas class="digit" data-is="rebuilt" role="img" aria-label="Its reconstruction"></canvas>
        <figcaption>decoded</figcaption></figure>
    </div>
    <div class="bar">
      <button type="button" data-is="clear">Clear</button>
      <button type="button" data-is="borrow">Take a test image</button>
      <label class="check" data-is="fitting"><input type="checkbox" data-is="fit" checked> centre and scale</label>
    </div>
    <p class="soft" data-is="drawn"></p>
    <p class="soft" data-is="noPad"></p>
  </section>
  <section class="card">
    <h2>Between two</h2>
    <div class="ends">
      <figure><canvas class="digit" data-is="endA" role="img" aria-label="Image A"></canvas>
        <button type="button" data-is="setA">Set A</button></figure>
      <input type="range" min="0" max="1" step="0.005" value="0" data-is="way" aria-label="From image A to image B">
      <figure><canvas class="digit" data-is="endB" role="img" aria-label="Image B"></canvas>
        <button type="button" data-is="setB">Set B</button></figure>
    </div>
    <canvas class="strip" data-is="strip" role="img" aria-label="Images on the straight line from A to B"></canvas>
    <p class="soft">A and B become the image that is decoded now: drag, draw or pick it first.</p>
  </section>
  <section class="card">
    <h2>Samples</h2>
    <div class="bar">
      <label class="slide"><span>temperature</span>
        <input type="range" min="0" max="2" step="0.05" value="1" data-is="heat"><output data-is="heatNow">1.00</output></label>
      <button type="button" data-is="again">Draw again</button>
    </div>
    <div class="samples" data-is="samples"></div>
    <p class="soft" data-is="prior"></p>
  </section>
</div>
<p class="unseen" aria-live="polite" data-is="status"></p>`;

class Explorer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    const arrays = (this.arrays = unpack(data.arrays, data.table));
    this.nets = { encode: [], decode: [] };
    this.space = spaceOf(data, arrays);
    this.label = 0;
    this.z = Float32Array.from(this.space.mean);
    this.shown = "image";
    this.jobs = new Map();
    this.strokes = [];
    this.seed = 1;
    const body = root.querySelector("div");
    body.innerHTML = MARKUP;
    this.at = {};
    for (const one of root.querySelectorAll("[data-is]")) this.at[one.dataset.is] = one;
    for (const [n, one] of ["mode", "shown", "label"].entries()) // several explorers on one page keep their choices apart
      for (const input of root.querySelectorAll(`[name=${one}]`)) input.name = `${one}-${Explorer.count}-${n}`;
    Explorer.count++;
    root.dataset.parts = data.parts;
    this.picture = document.createElement("canvas");
    this.plane = new Plane(this.at.plane, this.space, (z, number) => this.take(z, number));
    this.plane.mode = "codes";
    this.prepare();
    this.plane.pick(this.space.first(2));
    new ResizeObserver(() => this.resize()).observe(this.at.plane);
    this.watchTheme();
  }

  // The decoded image (or its spread) of a code, and the posterior of an image.
  decode(z, label = this.label, what = "image") {
    return this.net("decode", label).run(z, what);
  }

  encode(pixels, label = this.label) {
    const net = this.net("encode", label), mean = net.run(pixels, "mean").slice();
    return { mean, spread: net.has("spread") ? net.run(pixels, "spread").slice() : null };
  }

  net(kind, label) {
    return (this.nets[kind][label] ??= new Program(this.data.programs[kind][label], this.arrays));
  }

  prepare() {
    const { at, data, space } = this, line = data.latent === 1;
    at.plane.lastChild.setAttribute("aria-label", "Latent plane. The arrow keys move the code; with Shift, further. Enter takes the nearest test image.");
    at.plane.classList.toggle("line", line);
    at.digit.parentElement.classList.toggle("large", data.latent <= 4);
    this.prepareAxes();
    this.prepareClasses();
    this.prepareLegend();
    this.prepareSliders();
    for (const input of this.root.querySelectorAll("input[type=radio][value=codes], input[type=radio][value=images]"))
      input.addEventListener("change", () => this.setMode(input.value));
    for (const input of this.root.querySelectorAll("input[type=radio][value=image], input[type=radio][value=spread]"))
      input.addEventListener("change", () => { this.shown = input.value; this.later(); });
    if (!this.net("decode", 0).has("spread")) this.root.querySelector("[value=spread]").closest("fieldset").hidden = true;
    at.middle.addEventListener("click", () => this.take(Float32Array.from(space.mean)));
    at.saveDigit.addEventListener("click", () => save(enlarged(at.digit), "digit.png"));
    at.savePlane.addEventListener("click", () => this.savePlane());
    if (data.parts === "all") {
      this.prepareDrawing();
      this.prepareWay();
      this.prepareSamples();
    } else at.bottom.remove();
  }

  prepareAxes() {
    const { at, data, space } = this;
    at.axes.hidden = data.latent <= 2;
    if (data.latent <= 2) return;
    const selects = [at.across, at.up];
    selects.forEach((select, axis) => {
      space.directions.forEach((_, n) => element(select, "option", { value: `p${n}` }, `principal axis ${n + 1}`));
      for (let n = 0; n < data.latent; n++) element(select, "option", { value: n }, `dimension ${n}`);
      select.value = this.plane.axes[axis];
      select.addEventListener("change", () => {
        const other = selects[1 - axis];
        if (other.value === select.value) other.value = this.plane.axes[axis];
        this.plane.setAxes(at.across.value, at.up.value);
        this.refresh();
      });
    });
  }

  prepareClasses() {
    const { at, data } = this;
    at.classes.hidden = !data.told;
    for (let label = 0; label < (data.told ?? 0); label++) {
      const one = element(at.classes, "label"), name = `label-${Explorer.count}`;
      const input = element(one, "input", { type: "radio", name, value: label });
      input.checked = label === 0;
      element(one, "span", {}, data.names?.[label] ?? String(label));
      input.addEventListener("change", () => this.setLabel(label));
    }
  }

  // The classes' names beside their colours.
  prepareLegend() {
    const { at, space } = this;
    this.dots = [];
    for (let label = 0; label < Math.min(space.classes, NAMES); label++) {
      const one = element(at.legend, "span");
      this.dots.push(element(one, "i"));
      one.append(space.names[label]);
    }
    if (space.classes > NAMES) element(at.legend, "span", {}, this.unnamed());
    this.describePlane();
  }

  // The hint and the legend of what the plane shows.
  describePlane() {
    const { at, plane, space } = this;
    at.hint.textContent = HINTS[plane.mode];
    at.legend.hidden = plane.mode === "images" || !space.labels;
  }

  unnamed() {
    return `and ${this.space.classes - NAMES} more classes, in the same colours`;
  }

  prepareSliders() {
    const { at, data, space } = this;
    const shown = data.sliders;
    at.more.hidden = data.latent <= shown;
    at.more.firstChild.textContent = `${data.latent - shown} more dimensions, which vary less`;
    this.sliders = new Map();
    const add = (parent, n) => {
      const row = element(parent, "label", { class: "slide" });
      element(row, "span", {}, `z${subscript(n)}`).setAttribute("aria-label", `dimension ${n}`);
      const [min, max] = space.limits[n];
      const input = element(row, "input", { type: "range", min, max, step: 0.01, "aria-label": `latent dimension ${n}` });
      this.sliders.set(n, { input, output: element(row, "output") });
      input.addEventListener("input", () => {
        const z = Float32Array.from(this.z);
        z[n] = Number(input.value);
        this.take(z);
      });
    };
    for (const n of space.order.slice(0, shown)) add(at.sliders, n);
    at.more.addEventListener("toggle", () => {
      if (!at.rest.childElementCount) for (const n of space.order.slice(shown)) add(at.rest, n);
      this.later();
    });
  }

  prepareDrawing() {
    const { at, data } = this, { pad } = at, [channels, height, width] = data.shape;
    at.borrow.addEventListener("click", () => {
      const others = Math.max(1, this.space.count - 1), next = Math.floor(Math.random() * others);
      this.plane.pick(next >= this.imageSeen && others < this.space.count ? next + 1 : next); // another than is shown
    });
    at.clear.addEventListener("click", () => this.setStrokes([]));
    at.fit.checked = data.centred; // or a place that tells something would be drawn away
    at.fit.addEventListener("change", () => this.setStrokes(this.strokes));
    pad.width = 280;
    pad.height = Math.round((280 * height) / width);
    pad.setAttribute("aria-label", "Drawing pad, for a pointer; the button below takes a test image instead");
    pad.setAttribute("role", "img");
    if (channels > 1) {
      pad.parentElement.hidden = at.clear.hidden = at.fitting.hidden = true;
      at.noPad.textContent = "This model's images have colours, which a pad has none of: take a test image.";
    }
    let stroke = null;
    const point = (event) => {
      const box = pad.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    };
    pad.addEventListener("pointerdown", (event) => {
      pad.setPointerCapture(event.pointerId);
      stroke = [point(event)];
      this.setStrokes([...this.strokes, stroke]);
    });
    pad.addEventListener("pointermove", (event) => {
      if (!stroke) return;
      stroke.push(...(event.getCoalescedEvents?.() ?? [event]).map(point));
      this.setStrokes(this.strokes);
    });
    for (const kind of ["pointerup", "pointercancel"]) pad.addEventListener(kind, () => { stroke = null; });
    for (const canvas of [at.encoded, at.rebuilt]) [canvas.width, canvas.height] = [width, height];
    this.paintPad();
  }

  prepareWay() {
    const { at, space } = this;
    this.ends = [0, 1].map((n) => space.code(space.first(n)));
    at.setA.addEventListener("click", () => this.setEnd(0));
    at.setB.addEventListener("click", () => this.setEnd(1));
    at.way.addEventListener("input", () => this.take(this.between(Number(at.way.value))));
    at.strip.width = STEPS * this.data.shape[2];
    at.strip.height = this.data.shape[1];
  }

  prepareSamples() {
    const { at, data } = this;
    at.prior.textContent = data.prior.note ?? "";
    this.drawn = Array.from({ length: SAMPLES }, (_, n) => {
      const button = element(at.samples, "button", { type: "button", "aria-label": `Take sample ${n + 1}` });
      const [, height, width] = data.shape;
      const one = { canvas: element(button, "canvas", { class: "digit", width, height }), z: null };
      button.addEventListener("click", () => one.z && this.take(Float32Array.from(one.z)));
      return one;
    });
    at.heat.addEventListener("input", () => {
      at.heatNow.textContent = Number(at.heat.value).toFixed(2);
      this.drawSamples();
    });
    at.again.addEventListener("click", () => { this.seed++; this.drawSamples(); });
  }

  // A new code; with the number of a test image, it is that image's.
  take(z, number) {
    if (number !== undefined) this.imageSeen = number;
    this.z = z.map((value) => (Number.isFinite(value) ? value : 0));
    if (number !== undefined && this.space.labels && this.data.told) this.setLabel(this.space.labels[number]);
    if (number !== undefined && this.data.parts === "all") {
      this.strokes = [];
      this.source = { pixels: this.space.image(number), text: `Test image${this.space.labels ? ` of class ${this.space.names[this.space.labels[number]]}` : ""}.` };
      this.see();
    }
    this.later();
  }

  setLabel(label) {
    this.label = label;
    const input = this.at.classes.querySelector(`[value="${label}"]`);
    if (input) input.checked = true;
    if (this.source) this.see();
    this.refresh();
  }

  setMode(mode) {
    this.plane.mode = mode;
    this.describePlane();
    this.refresh();
  }

  // Everything again that depends on more than the code.
  refresh() {
    this.stale = true;
    this.later();
    if (this.data.parts === "all") {
      this.drawWay();
      this.drawSamples();
    }
  }

  setStrokes(strokes) {
    const { height, width } = this.space, { fit } = this.at;
    this.strokes = strokes;
    this.paintPad();
    if (!strokes.length) {
      this.source = this.posterior = null;
      for (const one of [this.at.encoded, this.at.rebuilt]) one.getContext("2d").clearRect(0, 0, one.width, one.height);
      this.at.drawn.textContent = "";
      this.later();
      return;
    }
    this.source = { pixels: inked(strokes, width, height, fit.checked, this.data.dark), text: "" };
    this.see();
    this.z = Float32Array.from(this.posterior.mean);
    this.later();
  }

  // Encodes the image that was drawn or taken.
  see() {
    const { at, data } = this;
    this.posterior = this.encode(this.source.pixels);
    paint(at.encoded, this.source.pixels, data.shape);
    paint(at.rebuilt, this.decode(this.posterior.mean), data.shape);
    at.drawn.textContent = this.source.text || (data.told ? `Encoded and decoded as class ${this.space.names[this.label]}.` : "");
    if (!this.strokes.length) this.paintPad();
  }

  paintPad() {
    const { pad } = this.at, pen = pad.getContext("2d"), { width } = this.space, scale = pad.width / width;
    pen.fillStyle = this.data.dark ? "#000" : "#fff";
    pen.fillRect(0, 0, pad.width, pad.height);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    strokeAll(pen, this.strokes, width, this.data.dark ? "#fff" : "#000");
    pen.setTransform(1, 0, 0, 1, 0, 0);
  }

  setEnd(n) {
    this.ends[n] = Float32Array.from(this.z);
    this.at.way.value = n;
    this.drawWay();
    this.later();
  }

  between(share) {
    const [a, b] = this.ends;
    return a.map((value, n) => value + share * (b[n] - value));
  }

  drawWay() {
    const { at, data } = this, [, height, width] = data.shape, pen = at.strip.getContext("2d");
    [at.endA, at.endB].forEach((canvas, n) => paint(canvas, this.decode(this.ends[n]), data.shape));
    const steps = Array.from({ length: STEPS }, (_, n) => n);
    this.queue("way", steps, (n) => {
      pen.putImageData(pixelsOf(this.decode(this.between(n / (STEPS - 1))), data.shape), n * width, 0);
    });
  }

  drawSamples() {
    const heat = Number(this.at.heat.value), random = normals(this.seed);
    const part = this.data.prior.parts?.[this.data.prior.parts.length > 1 ? this.label : 0];
    for (const one of this.drawn) one.z = this.draw(part, random, heat);
    this.queue("samples", this.drawn, (one) => paint(one.canvas, this.decode(one.z), this.data.shape));
  }

  // A code from the prior: of a mixture, a component first.
  draw(part, random, heat) {
    const noise = Float32Array.from({ length: part?.noise ?? this.data.latent }, () => heat * random.normal());
    const pick = random.uniform();
    if (!part) return noise;
    if (part.drawn !== undefined) {
      const all = this.arrays[part.drawn], size = this.data.latent, one = Math.floor(pick * (all.length / size));
      return all.slice(one * size, (one + 1) * size);
    }
    if (part.map) return Float32Array.from(new Program(part.map, this.arrays).run(noise, "code"));
    const [weights, means] = [part.weights, part.means].map((n) => this.arrays[n]), size = this.data.latent;
    let component = 0;
    for (let sum = weights[0]; sum < pick && component < weights.length - 1; sum += weights[component]) component++;
    const mean = means.subarray(component * size, (component + 1) * size);
    if (part.scales !== undefined) return mean.map((value, n) => value + this.arrays[part.scales][component * size + n] * noise[n]);
    const factor = this.arrays[part.factors].subarray(component * size * size);
    return mean.map((value, n) => value + dot(factor.subarray(n * size, n * size + n + 1), noise.subarray(0, n + 1)));
  }

  // Images that may come a frame or two later: those of a new queue replace those of the old one.
  queue(name, items, work) {
    this.jobs.set(name, { items: items[Symbol.iterator](), work });
    this.later();
  }

  later() {
    this.wanted ??= requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.wanted = null;
    this.redraw();
    const end = performance.now() + SLICE;
    for (const [name, { items, work }] of this.jobs) {
      for (let next = items.next(); ; next = items.next()) {
        if (next.done) { this.jobs.delete(name); break; }
        work(next.value);
        if (performance.now() > end) break;
      }
      if (performance.now() > end) break;
    }
    if (this.jobs.size) this.later();
  }

  // Draws what depends on the code; costs one pass of the decoder.
  redraw() {
    const { at, data, plane, space } = this;
    if (!plane.width) return;
    if (this.stale) this.redrawUnder();
    paint(this.picture, this.decode(this.z), data.shape);
    if (this.shown === "image") copy(this.picture, at.digit);
    else this.paintSpread();
    plane.code = this.z;
    const ring = data.parts === "all" && this.posterior?.spread ? this.posterior : null;
    plane.drawOver(this.theme, this.picture, this.ends, ring);
    for (const [n, { input, output }] of this.sliders) {
      input.value = this.z[n];
      output.textContent = shortly(this.z[n]);
    }
    this.say();
    if (plane.mode === "images" && this.elsewhere()) this.drawTiles();
  }

  paintSpread() {
    const spread = this.decode(this.z, this.label, "spread");
    this.white = Math.max(0.5, spread.reduce((a, b) => Math.max(a, b), 0));
    paint(this.at.digit, spread.map((value) => value / this.white), this.data.shape);
  }

  redrawUnder() {
    this.stale = false;
    if (this.plane.mode === "images") this.drawTiles();
    this.plane.drawUnder(this.theme, this.data.told ? this.label : null);
  }

  // Tells whether the images of the plane belong to another plane by now: one parallel to it, or of another class.
  elsewhere() {
    const tiles = this.plane.tiles, foot = this.foot();
    return !tiles || tiles.label !== this.label || foot.some((value, n) => Math.abs(value - tiles.foot[n]) > 1e-3);
  }

  // The code of the plane's middle, which is the same wherever on the plane the handle is.
  foot() {
    const middle = this.plane.ranges.map(([low, high]) => (low + high) / 2);
    return this.plane.codeAt(middle, this.z);
  }

  drawTiles() {
    const { plane, data } = this, [, height, width] = data.shape, side = plane.axes.length > 1 ? SIDE : STEPS;
    const canvas = plane.tiles?.canvas ?? document.createElement("canvas"), pen = canvas.getContext("2d");
    if (!plane.tiles) [canvas.width, canvas.height] = [side * width, (plane.axes.length > 1 ? side : 1) * height];
    plane.tiles = { canvas, shape: data.shape, side, label: this.label, foot: this.foot() };
    let drawn = 0;
    this.queue("tiles", plane.places(side), ({ row, column, place }) => {
      const z = plane.codeAt(place, plane.tiles.foot);
      pen.putImageData(pixelsOf(this.decode(z), data.shape), column * width, row * height);
      if (++drawn % side === 0) plane.drawUnder(this.theme, null);
    });
  }

  // Says in words what the picture shows; for those who listen, once it stays.
  say() {
    const { at, space } = this;
    const near = this.data.told ? `Decoded as class ${space.names[this.label]}`
      : space.labels ? `Nearest test image: ${space.names[space.labels[space.nearest(this.z)]]}` : "";
    const white = this.shown === "spread" ? `Standard deviation of p(x | z) in each pixel; white is ${this.white.toFixed(2)}.` : "";
    if (at.about.textContent !== (white || near)) at.about.textContent = white || near;
    at.digit.setAttribute("aria-label", `${this.shown === "image" ? "Decoded image" : "Spread of the decoded image"}. ${near}`);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      const place = this.plane.seen(this.z).slice(0, this.plane.axes.length).map(shortly).join(", ");
      at.status.textContent = `At ${place}. ${near}`;
    }, 500);
  }

  resize() {
    this.plane.resize();
    this.stale = true;
    this.later();
  }

  savePlane() {
    const { under, over, width, height, ratio } = this.plane, both = document.createElement("canvas");
    const pen = both.getContext("2d"), row = 20, font = "13px system-ui, sans-serif";
    pen.font = font;
    const { names, rows } = this.legendRows((text) => 16 + pen.measureText(text).width, width - 16);
    [both.width, both.height] = [under.width, under.height + Math.round(ratio * (rows ? row * rows + 10 : 0))];
    pen.fillStyle = this.theme.paper;
    pen.fillRect(0, 0, both.width, both.height);
    pen.drawImage(under, 0, 0);
    pen.drawImage(over, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = font; // a canvas forgets its own when its size changes
    for (const { text, colour, left, line } of names) {
      const y = height + row * (line + 0.5) + 4;
      if (colour) pen.fillStyle = colour, pen.beginPath(), pen.arc(8 + left + 4, y, 4, 0, 7), pen.fill();
      pen.fillStyle = this.theme.ink;
      pen.fillText(text, 8 + left + (colour ? 12 : 0), y + 4);
    }
    save(both, "plane.png");
  }

  // Places of the classes' names and colours in rows of a width.
  legendRows(widthOf, most) {
    const { at, space, theme } = this, names = [], classes = at.legend.hidden ? 0 : space.classes;
    const add = (text, colour) => {
      const last = names.at(-1), wide = widthOf(text) + 12;
      const fits = last && last.left + last.wide + wide <= most;
      names.push({ text, colour, wide, left: fits ? last.left + last.wide : 0, line: last ? last.line + (fits ? 0 : 1) : 0 });
    };
    for (let label = 0; label < Math.min(classes, NAMES); label++) add(space.names[label], theme.colours[label % theme.colours.length]);
    if (classes > NAMES) add(this.unnamed(), null);
    return { names, rows: names.length ? names.at(-1).line + 1 : 0 };
  }

  // Light or dark: as the page around it says, or as the system does.
  watchTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    let around = null;
    try { around = window.parent !== window ? window.parent.document.documentElement : null; } catch { /* another site's */ }
    const set = () => {
      const said = around?.dataset.theme;
      this.root.dataset.theme = said === "dark" || said === "light" ? said : dark.matches ? "dark" : "light";
      const style = getComputedStyle(this.root), colour = (name) => style.getPropertyValue(`--${name}`).trim();
      this.theme = Object.fromEntries(["ink", "soft", "paper", "line", "accent"].map((name) => [name, colour(name)]));
      this.theme.colours = this.data.colours.map((one) => readable(one, this.theme.paper, this.theme.ink));
      this.dots.forEach((dot, n) => { dot.style.background = this.theme.colours[n % this.theme.colours.length]; });
      this.refresh();
    };
    dark.addEventListener("change", set);
    if (around) new MutationObserver(set).observe(around, { attributeFilter: ["data-theme"] });
    set();
  }
}
Explorer.count = 0;

// What the page knows of the codes of the test images.
function spaceOf(data, arrays) {
  const { latent, shape, names } = data, [codes, labels, pixels] = ["codes", "labels", "pictures"].map((name) => arrays[data[name]]);
  const count = codes ? codes.length / latent : 0, size = shape[0] * shape[1] * shape[2];
  const code = (n) => codes.slice(n * latent, (n + 1) * latent);
  return {
    latent, count, codes: codes ?? new Float32Array(0), labels, code,
    height: shape[1], width: shape[2],
    classes: labels ? labels.reduce((a, b) => Math.max(a, b), 0) + 1 : 0,
    names: { ...Array.from({ length: 256 }, (_, n) => String(n)), ...names },
    mean: arrays[data.mean],
    directions: data.directions.map((n) => arrays[n]),
    order: data.order,
    limits: data.limits,
    image: (n) => Float32Array.from(pixels.subarray(n * size, (n + 1) * size), (value) => value / 255),
    nearest(z) {
      let found = 0, least = Infinity;
      for (let n = 0, at = 0; n < count; n++, at += latent) {
        let distance = 0;
        for (let k = 0; k < latent; k++) distance += (codes[at + k] - z[k]) ** 2;
        if (distance < least) [found, least] = [n, distance];
      }
      return found;
    },
    // Images to begin with, each of another class if there are: the ends of a way, and one that is shown.
    first(number) {
      if (!labels) return Math.min(number, count - 1);
      const kinds = [...new Set(labels)];
      return labels.indexOf(kinds[number % kinds.length]);
    },
  };
}

function pixelsOf(values, [channels, height, width]) {
  const made = new ImageData(width, height), area = height * width;
  for (let p = 0; p < area; p++) {
    for (let c = 0; c < 3; c++) made.data[4 * p + c] = 255 * values[(channels > 1 ? c : 0) * area + p]; // rounded and clamped
    made.data[4 * p + 3] = 255;
  }
  return made;
}

function paint(canvas, values, shape) {
  if (canvas.width !== shape[2] || canvas.height !== shape[1]) [canvas.width, canvas.height] = [shape[2], shape[1]];
  canvas.getContext("2d").putImageData(pixelsOf(values, shape), 0, 0);
}

function copy(from, to) {
  if (to.width !== from.width || to.height !== from.height) [to.width, to.height] = [from.width, from.height];
  to.getContext("2d").drawImage(from, 0, 0);
}

function enlarged(canvas) {
  const factor = Math.max(1, Math.round(560 / canvas.width)), made = document.createElement("canvas");
  [made.width, made.height] = [factor * canvas.width, factor * canvas.height];
  const pen = made.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, 0, 0, made.width, made.height);
  return made;
}

function save(canvas, name) {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function strokeAll(pen, strokes, width, ink) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = width / 12; // a pen of MNIST's kind
  pen.strokeStyle = ink;
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...stroke[0]);
    for (const point of stroke.length > 1 ? stroke : [[stroke[0][0] + 0.01, stroke[0][1]]]) pen.lineTo(...point);
    pen.stroke();
  }
}

// Strokes as an image of the model's size; as MNIST was made if they are to fit: in a box of 20 of 28 pixels, its
// centre of mass in the middle.
function inked(strokes, width, height, fit, dark) {
  const FINE = 6, canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [FINE * width, FINE * height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const draw = (points) => {
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.setTransform(FINE, 0, 0, FINE, 0, 0);
    strokeAll(pen, points, width, "#fff");
    const data = pen.getImageData(0, 0, canvas.width, canvas.height).data, made = new Float32Array(width * height);
    for (let n = 0; n < canvas.width * canvas.height; n++) {
      const row = Math.floor(n / canvas.width / FINE), column = Math.floor((n % canvas.width) / FINE);
      made[row * width + column] += data[4 * n] / 255 / FINE / FINE;
    }
    return made;
  };
  let points = strokes, made = draw(points);
  if (fit) {
    const all = strokes.flat(), thick = width / 12, [xs, ys] = [0, 1].map((n) => all.map((point) => point[n]));
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const room = (20 / 28) * Math.min(width, height) - thick, scale = room / Math.max(right - left, bottom - top, room / 4);
    const move = (dx, dy, by) => (stroke) => stroke.map(([x, y]) => [by * x + dx, by * y + dy]);
    points = strokes.map(move(width / 2 - (scale * (left + right)) / 2, height / 2 - (scale * (top + bottom)) / 2, scale));
    made = draw(points);
    let mass = 0, x = 0, y = 0;
    made.forEach((value, n) => { mass += value; x += value * ((n % width) + 0.5); y += value * (Math.floor(n / width) + 0.5); });
    if (mass) made = draw(points.map(move(width / 2 - x / mass, height / 2 - y / mass, 1)));
  }
  return dark ? made : made.map((value) => 1 - value);
}

// Random numbers that are the same for the same seed: mulberry32, and Box and Muller's normals.
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) };
}

// A class's colour, nearer to the ink's where the paper is too much like it.
function readable(colour, paper, ink) {
  const parts = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const ground = light(parts(paper)), end = parts(ink);
  const least = ground < 0.2 ? 3.2 : 2; // small points need more of it on a dark ground
  let now = parts(colour);
  for (let n = 0; n < 20 && Math.max(light(now), ground) / Math.min(light(now), ground) < least; n++)
    now = now.map((one, k) => one + 0.08 * (end[k] - one));
  return `rgb(${now.map(Math.round).join(" ")})`;
}

function shortly(value) {
  return value.toFixed(2).replace("-", "\u2212");
}

function subscript(n) {
  return String(n).replace(/./g, (digit) => String.fromCharCode(0x2080 + Number(digit)));
}

for (const root of document.querySelectorAll(".explorer:not([data-theme])")) {
  const data = root.querySelector("script[type='application/json']");
  root.explorer = new Explorer(root, JSON.parse(data.textContent));
}
