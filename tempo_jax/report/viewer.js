// Trajectories of CA atoms as shaded tubes on a 2-D canvas; see viewer.py for the data.
'use strict';
(() => {
  const UNIT = 0.01; // Å, of the int16 coordinates
  const TUBE = 0.6; // Å, radius
  const STRETCHED = 4.5; // Å; longer links of neighbours are drawn thin
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

  const mix = (a, b, t) => [0, 1, 2].map((k) => a[k] + (b[k] - a[k]) * t);
  const css = (c) => `rgb(${c[0] | 0},${c[1] | 0},${c[2] | 0})`;
  const hex = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));

  function shade(t) {
    const place = Math.max(0, Math.min(t, 1)) * (SHADES.length - 1);
    const k = Math.min(Math.floor(place), SHADES.length - 2);
    return mix(SHADES[k], SHADES[k + 1], place - k);
  }

  function decode(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Int16Array(bytes.buffer);
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
      this.boxes = [...root.querySelectorAll('input[type=checkbox]')];
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
      for (const input of [this.colour, ...this.boxes]) {
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
        this.clips = data.clips.map((clip) => ({...clip, xyz: decode(clip.xyz)}));
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
      const segments = [];
      const ends = [];
      for (const clip of clips) this.addTube(clip, nearest(clip.times, time), box, segments, ends);
      segments.sort((a, b) => a.depth - b.depth);
      const {radius} = this.data;
      for (const s of segments) this.paintSegment(context, s, radius);
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

    paintSegment(context, {from, to, colour, depth, thin, joint}, radius) {
      const white = [255, 255, 255];
      const base = mix(colour, white, 0.62 * Math.max(0, Math.min(0.5 - depth / (2 * radius), 1)));
      if (thin) {
        context.strokeStyle = css(base);
        context.lineWidth = Math.max(1, 0.4 * from.half);
        context.beginPath();
        context.moveTo(from.x, from.y);
        context.lineTo(to.x, to.y);
        context.stroke();
        return;
      }
      const dark = css(mix(base, [0, 0, 0], 0.42));
      const light = css(mix(base, white, 0.55));
      if (joint) {
        // Round ends and sharp bends.
        const shine = [from.x - 0.3 * from.half, from.y - 0.4 * from.half];
        const ball = context.createRadialGradient(...shine, 0, from.x, from.y, from.half);
        ball.addColorStop(0, light);
        ball.addColorStop(0.5, css(base));
        ball.addColorStop(1, dark);
        context.fillStyle = ball;
        context.beginPath();
        context.arc(from.x, from.y, from.half, 0, 2 * Math.PI);
        context.fill();
      }
      const strip = (margin) => {
        const [a, b] = [from.half + margin, to.half + margin];
        context.beginPath();
        context.moveTo(from.x + a * from.nx, from.y + a * from.ny);
        context.lineTo(to.x + b * to.nx, to.y + b * to.ny);
        context.lineTo(to.x - b * to.nx, to.y - b * to.ny);
        context.lineTo(from.x - a * from.nx, from.y - a * from.ny);
        context.closePath();
      };
      // A rim of background parts what crosses.
      strip(1.5);
      context.fillStyle = 'rgba(255,255,255,0.9)';
      context.fill();
      const [x, y] = [0.5 * (from.x + to.x), 0.5 * (from.y + to.y)];
      const [nx, ny] = [0.5 * (from.nx + to.nx) * from.half, 0.5 * (from.ny + to.ny) * from.half];
      const round = context.createLinearGradient(x + nx, y + ny, x - nx, y - ny);
      // The light comes from above, on the left.
      const lit = 0.5 + 0.22 * (0.6 * from.nx + 0.8 * from.ny);
      round.addColorStop(0, dark);
      round.addColorStop(lit - 0.22, css(base));
      round.addColorStop(lit, light);
      round.addColorStop(lit + 0.22, css(base));
      round.addColorStop(1, dark);
      strip(0);
      context.fillStyle = context.strokeStyle = round;
      context.lineWidth = 0.7;
      context.fill();
      context.stroke();
    }

    addTube(clip, frame, box, segments, ends) {
      const {length, breaks, chains, radius} = this.data;
      const scale = (0.47 * Math.min(...box) * this.zoom) / radius;
      const eye = 5 * radius;
      const m = this.turn;
      const start = 3 * length * frame;
      const points = [];
      for (let i = 0; i < length; i++) {
        const [x, y, z] = [0, 1, 2].map((k) => UNIT * clip.xyz[start + 3 * i + k]);
        points.push([0, 3, 6].map((k) => m[k] * x + m[k + 1] * y + m[k + 2] * z));
      }
      const project = ([x, y, z]) => {
        const near = scale * eye / Math.max(eye - z, 0.1 * eye);
        return {x: box[0] / 2 + near * x, y: box[1] / 2 - near * y, z, half: TUBE * near};
      };
      const colourOf = (i) => {
        if (this.colour.value === 'clip') return hex(clip.colour);
        const k = chains.findLastIndex((first) => first <= Math.floor(i));
        if (this.colour.value === 'chain') return CHAINS[k % CHAINS.length];
        const next = k + 1 < chains.length ? chains[k + 1] : length;
        return shade((i - chains[k]) / Math.max(next - chains[k] - 1, 1));
      };
      const fine = length > 400 ? 2 : length > 150 ? 4 : 6;
      let first = 0;
      for (const last of [...breaks, length - 1]) {
        const run = [];
        for (let i = first; i < last; i++) {
          const b = points[i];
          const c = points[i + 1];
          const a = points[Math.max(i - 1, first)];
          const d = points[Math.min(i + 2, last)];
          const thin = Math.hypot(...b.map((x, k) => c[k] - x)) > STRETCHED;
          const steps = thin ? 1 : fine;
          for (let k = 0; k < steps; k++) {
            const t = k / steps;
            // Catmull-Rom: a smooth curve through every CA.
            const place = b.map((x, n) => x + 0.5 * t * (c[n] - a[n]
              + t * (2 * a[n] - 5 * x + 4 * c[n] - d[n] + t * (3 * (x - c[n]) + d[n] - a[n]))));
            run.push({...project(place), thin, colour: colourOf(i + (k + 0.5) / steps)});
          }
        }
        run.push({...project(points[last]), thin: false, colour: colourOf(last)});
        // The side of the tube at every point, in the picture.
        run.forEach((point, k) => {
          const [before, after] = [run[Math.max(k - 1, 0)], run[Math.min(k + 1, run.length - 1)]];
          const [dx, dy] = [after.x - before.x, after.y - before.y];
          const size = Math.hypot(dx, dy) + 1e-9;
          [point.nx, point.ny] = [-dy / size, dx / size];
          const bend = (point.x - before.x) * (after.x - point.x)
            + (point.y - before.y) * (after.y - point.y);
          const sides = Math.hypot(point.x - before.x, point.y - before.y)
            * Math.hypot(after.x - point.x, after.y - point.y);
          point.joint = k === 0 || before.thin || bend < 0.8 * sides;
        });
        run.forEach((from, k) => {
          // The last one is the round end; a residue without neighbours is nothing else.
          const to = run[Math.min(k + 1, run.length - 1)];
          segments.push({
            from, to, thin: from.thin, colour: from.colour, depth: 0.5 * (from.z + to.z),
            joint: from.joint || to === from,
          });
        });
        first = last + 1;
      }
      chains.forEach((begin, k) => {
        const end = (k + 1 < chains.length ? chains[k + 1] : length) - 1;
        for (const [letter, i, inner] of [['N', begin, begin + 1], ['C', end, end - 1]]) {
          if (end === begin) continue;
          const [p, q] = [project(points[i]), project(points[inner])];
          const out = (8 + p.half) / (Math.hypot(p.x - q.x, p.y - q.y) + 1e-6);
          ends.push([letter, p.x + (p.x - q.x) * out, p.y + (p.y - q.y) * out]);
        }
      });
    }
  }

  document.addEventListener('DOMContentLoaded', () => {
    for (const root of document.querySelectorAll('.viewer')) new Viewer(root);
  });
})();
