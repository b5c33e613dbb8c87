// The map: stores in Web Mercator on one canvas, with no tiles, so it needs no other server. Names of places stand where
// their stores are; a scale bar says how far. 23,000 stores are drawn in some milliseconds, so every move draws again.

const EARTH_M = 40_075_017;
const LEAST_SCALE = 200;
const MOST_SCALE = EARTH_M * 10; // a tenth of a metre a pixel
const FONT = "Inter, system-ui, sans-serif";

const projectX = (longitude) => longitude / 360 + 0.5;
function projectY(latitude) {
  const sine = Math.sin((Math.max(-85, Math.min(85, latitude)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}

function disc(radius, colour) {
  const size = 2 * radius + 2;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.ceil(size * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.scale(canvas.width / size, canvas.width / size);
  context.globalAlpha = 0.85;
  context.fillStyle = colour;
  context.arc(size / 2, size / 2, radius, 0, 2 * Math.PI);
  context.fill();
  return { canvas, size };
}

export class StoreMap {
  /** `describe(store)` gives the lines of a store's tip, the first one its title. */
  constructor(host, describe) {
    this.host = host;
    this.canvas = host.querySelector("canvas");
    this.tip = host.querySelector(".tip");
    this.describe = describe;
    this.stores = [];
    this.places = [];
    this.view = null; // {x, y: the middle; scale: pixels a world}
    this.pointers = new Map();
    this.chosen = null;
    this.greatest = 11; // the radius of most visits, in pixels; less where many stores are in view
    this.listen();
  }

  /** Stores are {latitude, longitude, location, visits, sent}; the view stays, unless `refit`. */
  show(stores, refit) {
    this.stores = stores.map((store) => ({ store, x: projectX(store.longitude), y: projectY(store.latitude) }));
    this.mostVisits = this.most("visits");
    this.mostSent = this.most("sent");
    // The big ones first, so that the small ones lie on top and can be pointed at.
    this.stores.sort((one, other) => (other.store.visits ?? -1) - (one.store.visits ?? -1));
    this.places = this.findPlaces();
    this.chosen = null;
    if (refit || !this.view) this.fit();
    else this.draw();
  }

  most(measure) {
    return this.stores.reduce((most, { store }) => Math.max(most, store[measure] ?? 0), 1);
  }

  findPlaces() {
    const places = new Map();
    for (const { store, x, y } of this.stores) {
      if (!store.location) continue;
      const place = places.get(store.location) ?? { name: store.location, x: 0, y: 0, count: 0 };
      place.x += x; place.y += y; place.count += 1;
      places.set(store.location, place);
    }
    return [...places.values()]
      .map(({ name, x, y, count }) => ({ name, x: x / count, y: y / count, count }))
      .sort((one, other) => other.count - one.count);
  }

  fit() {
    if (!this.stores.length || !this.host.clientWidth) return;
    let [west, east, north, south] = [1, 0, 1, 0];
    for (const { x, y } of this.stores) {
      west = Math.min(west, x); east = Math.max(east, x); north = Math.min(north, y); south = Math.max(south, y);
    }
    const room = 0.86;
    const scale = Math.min(
      (this.host.clientWidth * room) / Math.max(east - west, 1e-5),
      (this.host.clientHeight * room) / Math.max(south - north, 1e-5),
    );
    this.view = { x: (west + east) / 2, y: (north + south) / 2, scale };
    this.draw();
  }

  /** Bring a store to the middle, near enough to tell it from its neighbours. */
  goTo(storeId) {
    const found = this.stores.find(({ store }) => store.store_id === storeId);
    if (!found) return;
    const streets = EARTH_M / 2; // two metres a pixel
    this.view = { x: found.x, y: found.y, scale: Math.max(this.view.scale, streets) };
    this.chosen = found;
    this.draw();
    this.showTip(found);
  }

  zoom(factor, atX = this.host.clientWidth / 2, atY = this.host.clientHeight / 2) {
    if (!this.view) return;
    const { x, y, scale } = this.view;
    const next = Math.max(LEAST_SCALE, Math.min(scale * factor, MOST_SCALE));
    const [dx, dy] = [atX - this.host.clientWidth / 2, atY - this.host.clientHeight / 2];
    this.view = { x: x + dx / scale - dx / next, y: y + dy / scale - dy / next, scale: next };
    this.draw();
  }

  pan(dx, dy) {
    if (!this.view) return;
    this.view = { ...this.view, x: this.view.x - dx / this.view.scale, y: this.view.y - dy / this.view.scale };
    this.draw();
  }

  draw() {
    this.tip.hidden = true;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
      if (this.chosen) this.showTip(this.chosen);
    });
  }

  position({ x, y }) {
    const { view, host } = this;
    return [(x - view.x) * view.scale + host.clientWidth / 2, (y - view.y) * view.scale + host.clientHeight / 2];
  }

  radius({ visits }) {
    const least = this.greatest < 6 ? 1.5 : 2.5;
    return visits ? least + this.greatest * Math.sqrt(visits / this.mostVisits) : least - 0.5;
  }

  /** 0: no offer was sent; 1 to 4: how many, by orders of magnitude up to the most sent at a store. */
  step({ sent }) {
    return sent ? Math.min(4, Math.ceil((4 * Math.log1p(sent)) / Math.log1p(this.mostSent))) : 0;
  }

  paint() {
    const { canvas, host } = this;
    const [width, height, ratio] = [host.clientWidth, host.clientHeight, devicePixelRatio];
    if (!this.view || !width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name).trim();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.paintStores(context, width, height, [0, 1, 2, 3, 4].map((step) => ink(`--ramp-${step}`)));
    this.paintPlaces(context, width, height, ink("--ink"), ink("--soft"));
    this.paintScale(context, ink("--quiet"));
  }

  /** A disc is drawn once for its colour and size and then copied: that is many times as fast as filling each one. */
  paintStores(context, width, height, ramp) {
    const inView = this.stores.filter((item) => {
      const [x, y] = this.position(item);
      return x > -20 && y > -20 && x < width + 20 && y < height + 20;
    });
    this.greatest = (width < 480 ? 7 : 11) * Math.max(0.3, Math.min(1, Math.sqrt(500 / inView.length)));
    const discs = new Map();
    const drawn = new Set(); // of stores in one colour on the same two pixels only the first, the greatest, would be seen
    for (const item of inView) {
      const [x, y] = this.position(item);
      const spot = (Math.round(x / 2) * 8192 + Math.round(y / 2)) * 8 + this.step(item.store);
      if (drawn.has(spot)) continue;
      drawn.add(spot);
      const [step, radius] = [this.step(item.store), Math.round(this.radius(item.store) * 2) / 2];
      const name = step * 100 + radius;
      if (!discs.has(name)) discs.set(name, disc(radius, ramp[step]));
      const { canvas, size } = discs.get(name);
      context.drawImage(canvas, x - size / 2, y - size / 2, size, size);
    }
  }

  paintPlaces(context, width, height, ink, paper) {
    const taken = [];
    context.font = `600 12px ${FONT}`;
    context.textAlign = "center";
    context.lineWidth = 4;
    context.lineJoin = "round";
    for (const place of this.places) {
      if (taken.length >= 14) break;
      const [x, y] = this.position(place);
      const half = context.measureText(place.name).width / 2 + 6;
      if (x < half || y < 16 || x > width - half - 48 || y > height - 44) continue;
      if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 22)) continue;
      taken.push({ x, y, half });
      context.strokeStyle = paper;
      context.strokeText(place.name, x, y);
      context.fillStyle = ink;
      context.fillText(place.name, x, y);
    }
  }

  paintScale(context, ink) {
    const latitude = Math.atan(Math.sinh(Math.PI * (1 - 2 * this.view.y)));
    const metres = (EARTH_M * Math.cos(latitude)) / this.view.scale; // a pixel
    const most = metres * 110;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((digit) => digit * power).find((one) => one <= most);
    const [left, y, pixels] = [14, 22, length / metres];
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(left, y - 4); context.lineTo(left, y); context.lineTo(left + pixels, y); context.lineTo(left + pixels, y - 4);
    context.stroke();
    context.font = `11px ${FONT}`;
    context.textAlign = "left";
    context.fillText(length >= 1000 ? `${length / 1000} km` : `${length} m`, left + 6, y - 5);
  }

  nearest(atX, atY) {
    let [best, least] = [null, Infinity];
    if (!this.view) return null;
    for (const item of this.stores) {
      const [x, y] = this.position(item);
      const gap = Math.hypot(x - atX, y - atY) - this.radius(item.store);
      if (gap < least) [best, least] = [item, gap];
    }
    return least < 10 ? best : null;
  }

  showTip(item) {
    this.tip.hidden = !item;
    if (!item) return;
    const [title, ...lines] = this.describe(item.store);
    const head = document.createElement("b");
    head.textContent = title;
    this.tip.replaceChildren(head, ...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    const [x, y] = this.position(item);
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const below = y - height - 16 < 0;
    this.tip.style.left = `${Math.max(6, Math.min(x - width / 2, this.host.clientWidth - width - 6))}px`;
    this.tip.style.top = `${below ? y + 16 : y - height - 16}px`;
  }

  listen() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, place(event));
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("dragging");
      this.chosen = null;
    });
    canvas.addEventListener("pointermove", (event) => this.moved(event.pointerId, place(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        canvas.classList.toggle("dragging", this.pointers.size > 0);
        if (name === "pointerup") this.showTip(this.nearest(...place(event)));
      });
    }
    canvas.addEventListener("pointerleave", () => { if (!this.chosen) this.tip.hidden = true; });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), ...place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const act = {
        ArrowLeft: () => this.pan(60, 0), ArrowRight: () => this.pan(-60, 0), ArrowUp: () => this.pan(0, 60), ArrowDown: () => this.pan(0, -60),
        "+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6), 0: () => this.fit(),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act();
    });
    this.host.querySelector(".map-buttons").addEventListener("click", ({ target }) => {
      const act = { in: () => this.zoom(1.6), out: () => this.zoom(1 / 1.6), all: () => this.fit() }[target.dataset.map];
      this.chosen = null;
      act?.();
    });
    new ResizeObserver(() => (this.view ? this.draw() : this.fit())).observe(this.host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  moved(id, at) {
    const before = this.pointers.get(id);
    if (!before) {
      if (!this.chosen) this.showTip(this.nearest(...at));
      return;
    }
    this.pointers.set(id, at);
    const others = [...this.pointers].filter(([other]) => other !== id).map(([, point]) => point);
    if (!others.length) return this.pan(at[0] - before[0], at[1] - before[1]);
    const [other] = others;
    const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    this.zoom(apart(at) / apart(before), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  }
}
