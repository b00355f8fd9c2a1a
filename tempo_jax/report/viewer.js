// Trajectories to rotate, zoom and play; what is drawn of them stands in cartoon.js.
'use strict';
(() => {
  const TURN = Math.PI / 18; // of one arrow key
  const FRAMES_PER_SECOND = 15;
  const CALM_FRAMES_PER_SECOND = 3; // where the user asked for less motion
  const SHADES = [
    [44, 83, 170], [38, 140, 178], [60, 165, 110], [225, 180, 40], [224, 110, 45], [190, 40, 55],
  ];
  const CHAINS = [
    [31, 119, 180], [230, 130, 30], [44, 150, 70], [200, 60, 60], [140, 100, 180],
    [140, 86, 75], [215, 110, 185], [110, 110, 110], [170, 170, 40], [30, 180, 195],
  ];

  // Coil, helix, strand.
  const STRUCTURES = [[150, 150, 150], [200, 70, 85], [222, 165, 45]];

  const {mix} = cartoon;
  const hex = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));

  function shade(t) {
    const place = Math.max(0, Math.min(t, 1)) * (SHADES.length - 1);
    const k = Math.min(Math.floor(place), SHADES.length - 2);
    return mix(SHADES[k], SHADES[k + 1], place - k);
  }

  function decode(text, Numbers) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Numbers(bytes.buffer);
  }

  function decoded(clip) {
    return {
      ...clip,
      xyz: decode(clip.xyz, Int16Array),
      plane: decode(clip.plane, Int8Array),
      side: clip.side ? decode(clip.side, Int8Array) : null,
    };
  }

  function multiply(a, b) {
    const product = new Array(9).fill(0);
    for (let i = 0; i < 9; i++) {
      for (let k = 0; k < 3; k++) product[i] += a[3 * Math.floor(i / 3) + k] * b[3 * k + (i % 3)];
    }
    return product;
  }

  function nearest(times, time) {
    let low = 0;
    let high = times.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle] <= time) low = middle;
      else high = middle;
    }
    return time - times[low] <= times[high] - time ? low : high;
  }

  class Viewer {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector('script').textContent);
      this.canvas = root.querySelector('canvas');
      this.slider = root.querySelector('input[type=range]');
      this.output = root.querySelector('output');
      this.playButton = root.querySelector('[data-do=play]');
      this.layout = root.querySelector('[data-choose=layout]');
      this.colour = root.querySelector('[data-choose=colour]');
      this.boxes = [...root.querySelectorAll('[data-clip]')];
      this.sticks = root.querySelector('[data-choose=sticks]');
      this.clips = null;
      this.pointer = null;
      this.waiting = false;
      this.playing = false;
      this.reset();
      this.listen();
      // Sees the first layout, too, be it only when a closed <details> opens.
      new ResizeObserver(() => this.draw()).observe(this.canvas);
      this.showFrame();
    }

    reset() {
      this.turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
      this.zoom = 1;
      this.draw();
    }

    listen() {
      const {canvas, root, slider} = this;
      canvas.addEventListener('pointerdown', (event) => {
        canvas.focus({preventScroll: true});
        canvas.setPointerCapture(event.pointerId);
        this.pointer = [event.clientX, event.clientY];
      });
      canvas.addEventListener('pointermove', (event) => {
        if (!this.pointer) return;
        this.rotate(
          (event.clientX - this.pointer[0]) * 0.01, (event.clientY - this.pointer[1]) * 0.01);
        this.pointer = [event.clientX, event.clientY];
      });
      for (const end of ['pointerup', 'pointercancel']) {
        canvas.addEventListener(end, () => { this.pointer = null; });
      }
      canvas.addEventListener('wheel', (event) => {
        // The page scrolls on until the picture has been clicked.
        if (document.activeElement !== canvas) return;
        event.preventDefault();
        this.zoomBy(Math.exp(-0.002 * event.deltaY));
      }, {passive: false});
      canvas.addEventListener('keydown', (event) => this.key(event));
      slider.addEventListener('keydown', (event) => {
        if (event.key === ' ') this.key(event);
      });
      slider.addEventListener('input', () => this.showFrame());
      const actions = {
        play: () => this.play(!this.playing),
        previous: () => this.step(-1),
        next: () => this.step(1),
        closer: () => this.zoomBy(1.25),
        farther: () => this.zoomBy(0.8),
        reset: () => this.reset(),
      };
      for (const button of root.querySelectorAll('[data-do]')) {
        button.addEventListener('click', actions[button.dataset.do]);
      }
      if (this.layout) {
        this.layout.addEventListener('change', () => {
          if (this.layout.value === 'over') this.colour.value = 'clip';
          else if (this.colour.value === 'clip') this.colour.value = 'residue';
          this.draw();
        });
      }
      for (const input of [this.colour, this.sticks, ...this.boxes]) {
        if (input) input.addEventListener('change', () => this.draw());
      }
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const actions = {
        ArrowLeft: () => this.rotate(-TURN, 0),
        ArrowRight: () => this.rotate(TURN, 0),
        ArrowUp: () => this.rotate(0, -TURN),
        ArrowDown: () => this.rotate(0, TURN),
        '+': () => this.zoomBy(1.25),
        '=': () => this.zoomBy(1.25),
        '-': () => this.zoomBy(0.8),
        0: () => this.reset(),
        ',': () => this.step(-1),
        '.': () => this.step(1),
        ' ': () => this.play(!this.playing),
        s: () => this.toggleSticks(),
      };
      const action = actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    rotate(x, y) {
      const [cx, sx, cy, sy] = [Math.cos(x), Math.sin(x), Math.cos(y), Math.sin(y)];
      const about = multiply([1, 0, 0, 0, cy, -sy, 0, sy, cy], [cx, 0, sx, 0, 1, 0, -sx, 0, cx]);
      this.turn = multiply(about, this.turn);
      this.draw();
    }

    toggleSticks() {
      if (!this.sticks) return;
      this.sticks.checked = !this.sticks.checked;
      this.draw();
    }

    zoomBy(factor) {
      this.zoom = Math.max(0.2, Math.min(this.zoom * factor, 20));
      this.draw();
    }

    step(by) {
      const count = this.data.times.length;
      this.play(false);
      this.slider.value = (Number(this.slider.value) + by + count) % count;
      this.showFrame();
    }

    play(start) {
      this.playing = start && this.data.times.length > 1;
      this.playButton.textContent = this.playing ? '❚❚' : '▶';
      this.playButton.setAttribute('aria-label', this.playing ? 'pause' : 'play');
      if (!this.playing) return;
      const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
      const pause = 1000 / (calm ? CALM_FRAMES_PER_SECOND : FRAMES_PER_SECOND);
      let last = performance.now();
      const tick = (now) => {
        if (!this.playing) return;
        if (now - last >= pause) {
          last = now;
          this.slider.value = (Number(this.slider.value) + 1) % this.data.times.length;
          this.showFrame();
        }
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }

    showFrame() {
      const {times, unit} = this.data;
      const time = times[Number(this.slider.value)];
      const text = unit === 'ns' ? `${time} ns` : `frame ${time}`;
      this.output.textContent = text;
      this.slider.setAttribute('aria-valuetext', text);
      this.draw();
    }

    draw() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.paint();
      });
    }

    paint() {
      const {canvas, data} = this;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (!width || !height) return;
      if (!this.clips) {
        this.clips = data.clips.map(decoded);
      }
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const size = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
      const context = canvas.getContext('2d');
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const shown = this.clips.filter((_, k) => !this.boxes.length || this.boxes[k].checked);
      const panels = this.layout && this.layout.value === 'over' ? [shown] : shown.map((c) => [c]);
      const columns = Math.max(1, Math.min(panels.length, Math.floor(width / 220)));
      const rows = Math.ceil(panels.length / columns);
      panels.forEach((clips, k) => {
        const box = [width / columns, height / rows];
        context.save();
        context.translate((k % columns) * box[0], Math.floor(k / columns) * box[1]);
        context.beginPath();
        context.rect(0, 0, ...box);
        context.clip();
        this.paintPanel(context, clips, box);
        context.restore();
      });
    }

    paintPanel(context, clips, box) {
      const time = this.data.times[Number(this.slider.value)];
      const parts = [];
      const ends = [];
      for (const clip of clips) this.addClip(clip, nearest(clip.times, time), box, parts, ends);
      parts.sort((a, b) => a.depth - b.depth);
      const {radius} = this.data;
      context.lineJoin = context.lineCap = 'round';
      for (const part of parts) cartoon.paint(context, part, radius);
      context.textAlign = 'center';
      context.textBaseline = 'middle';
      context.font = 'bold 12px sans-serif';
      context.lineWidth = 3;
      context.strokeStyle = '#fff';
      context.fillStyle = '#333';
      for (const [letter, x, y] of ends) {
        context.strokeText(letter, x, y);
        context.fillText(letter, x, y);
      }
      context.textAlign = 'left';
      context.textBaseline = 'top';
      context.font = '13px sans-serif';
      clips.forEach((clip, k) => {
        const own = clip.times[nearest(clip.times, time)];
        const ended = time > clip.times[clip.times.length - 1] ? `, ends at ${own}` : '';
        const name = this.clips.length > 1 ? clip.label + ended : '';
        context.fillStyle = this.colour.value === 'clip' ? clip.colour : '#333';
        context.strokeText(name, 6, 6 + 17 * k);
        context.fillText(name, 6, 6 + 17 * k);
      });
    }

    addClip(clip, frame, box, parts, ends) {
      const {length, chains, radius} = this.data;
      const scale = (0.47 * Math.min(...box) * this.zoom) / radius;
      const eye = 5 * radius;
      const project = ([x, y, z]) => {
        const near = scale * eye / Math.max(eye - z, 0.1 * eye);
        return {x: box[0] / 2 + near * x, y: box[1] / 2 - near * y, z, scale: near};
      };
      const colourOf = (i) => {
        if (this.colour.value === 'clip') return hex(clip.colour);
        if (this.colour.value === 'structure') {
          return STRUCTURES[Number(clip.structure[length * frame + Math.floor(i)])];
        }
        const k = chains.findLastIndex((first) => first <= Math.floor(i));
        if (this.colour.value === 'chain') return CHAINS[k % CHAINS.length];
        const next = k + 1 < chains.length ? chains[k + 1] : length;
        return shade((i - chains[k]) / Math.max(next - chains[k] - 1, 1));
      };
      const withSticks = Boolean(this.sticks && this.sticks.checked);
      const points = cartoon.add(
        this.data, clip, frame, {turn: this.turn, project, colourOf, withSticks}, parts);
      chains.forEach((begin, k) => {
        const end = (k + 1 < chains.length ? chains[k + 1] : length) - 1;
        for (const [letter, i, inner] of [['N', begin, begin + 1], ['C', end, end - 1]]) {
          if (end === begin) continue;
          const [p, q] = [project(points[i]), project(points[inner])];
          const out = (8 + 0.6 * p.scale) / (Math.hypot(p.x - q.x, p.y - q.y) + 1e-6);
          ends.push([letter, p.x + (p.x - q.x) * out, p.y + (p.y - q.y) * out]);
        }
      });
    }
  }

  document.addEventListener('DOMContentLoaded', () => {
    for (const root of document.querySelectorAll('.viewer')) new Viewer(root);
  });
})();
