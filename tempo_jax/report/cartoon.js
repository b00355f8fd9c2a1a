// Backbones as cartoons and side chains as sticks: faces and lines in the picture, drawn from back
// to front on a 2-D canvas; see viewer.py for the data.
'use strict';
const cartoon = (() => {
  const UNIT = 0.01; // Å, of the int16 coordinates of CA
  const STICK_UNIT = 0.06; // Å, of the int8 coordinates of side chains, from CA
  const STRETCHED = 4.5; // Å; longer links of neighbours are drawn as thin lines
  const COIL = 0; // then helix and strand
  const STRAND = 2;
  // Å, half of the width and of the thickness.
  const SIZES = [[0.3, 0.3], [1.2, 0.22], [1.1, 0.22]];
  const ARROW = 1.8;
  const STICK = 0.17;
  const LIGHT = [-0.36, 0.54, 0.76]; // From above, on the left, where x is to the right, y up.
  const WHITE = [255, 255, 255];
  const ELEMENTS = {N: [50, 85, 220], O: [215, 45, 45], S: [205, 170, 25]};

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [
    a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
  ];
  const along = (a, b, t) => [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]];
  const mix = (a, b, t) => [0, 1, 2].map((k) => a[k] + (b[k] - a[k]) * t);
  const css = (c) => `rgb(${c[0] | 0},${c[1] | 0},${c[2] | 0})`;

  function unit(a) {
    const size = Math.sqrt(dot(a, a));
    return size > 1e-6 ? [a[0] / size, a[1] / size, a[2] / size] : null;
  }

  // What is left of a across an axis, of length 1; any such direction where nothing is.
  function across(a, axis) {
    const found = unit(along(a, axis, -dot(a, axis)));
    if (found) return found;
    return unit(cross(axis, Math.abs(axis[0]) < 0.8 ? [1, 0, 0] : [0, 1, 0]));
  }

  function turned(turn, x, y, z) {
    return [0, 3, 6].map((k) => turn[k] * x + turn[k + 1] * y + turn[k + 2] * z);
  }

  // CA and the directions of C=O of a frame, turned into the picture's axes.
  function backbone(clip, frame, length, turn) {
    const ca = [];
    const carbonyl = [];
    for (let i = 0; i < length; i++) {
      const at = 3 * (length * frame + i);
      const [x, y, z] = [0, 1, 2].map((k) => UNIT * clip.xyz[at + k]);
      ca.push(turned(turn, x, y, z));
      carbonyl.push(turned(turn, clip.plane[at], clip.plane[at + 1], clip.plane[at + 2]));
    }
    return {ca, carbonyl};
  }

  // The sides of a ribbon at residues first ... last: across the chain, in the planes of the
  // peptides (Carson & Bugg, J. Mol. Graph. 4, 121 (1986)), and never turned over.
  function sidesOf({ca, carbonyl}, first, last) {
    const planes = [];
    for (let i = first; i < last; i++) {
      const axis = unit(along(ca[i + 1], ca[i], -1)) || [1, 0, 0];
      let side = across(carbonyl[i], axis);
      const before = planes[planes.length - 1];
      if (before && dot(side, before) < 0) side = side.map((x) => -x);
      planes.push(side);
    }
    const sides = [];
    for (let i = first; i <= last; i++) {
      const [a, b] = [planes[Math.max(i - first - 1, 0)], planes[Math.min(i, last - 1) - first]];
      sides.push(unit(along(a, b, 1)) || b);
    }
    return sides;
  }

  // Half width and thickness between residues i and i + 1: strands end in an arrow.
  function sizeAt(kinds, i, t) {
    const [from, to] = [SIZES[kinds[i]], SIZES[kinds[i + 1]]];
    const ends = kinds[i] === STRAND && kinds[i + 1] !== STRAND;
    const s = ends ? t : t * t * (3 - 2 * t);
    const width = ends ? ARROW : from[0];
    return [width + s * (to[0] - width), from[1] + s * (to[1] - from[1])];
  }

  // Sections of the ribbon through CA of residues first ... last; `fine` of them per residue.
  function sectionsOf(trace, kinds, first, last, fine) {
    const {ca} = trace;
    const sides = sidesOf(trace, first, last);
    const found = [];
    for (let i = first; i < last; i++) {
      const [b, c] = [ca[i], ca[i + 1]];
      const [a, d] = [ca[Math.max(i - 1, first)], ca[Math.min(i + 2, last)]];
      for (let k = i === first ? 0 : 1; k <= fine; k++) {
        const t = k / fine;
        // Catmull-Rom: a smooth curve through every CA, and its slope.
        const place = b.map((x, n) => x + 0.5 * t * (c[n] - a[n]
          + t * (2 * a[n] - 5 * x + 4 * c[n] - d[n] + t * (3 * (x - c[n]) + d[n] - a[n]))));
        const slope = b.map((x, n) => c[n] - a[n] + 2 * t * (2 * a[n] - 5 * x + 4 * c[n] - d[n])
          + 3 * t * t * (3 * (x - c[n]) + d[n] - a[n]));
        const axis = unit(slope) || [0, 0, 1];
        const side = across(mix(sides[i - first], sides[i - first + 1], t), axis);
        const section = {place, side, normal: cross(axis, side), axis, at: i + t};
        [section.width, section.thickness] = sizeAt(kinds, i, t);
        found.push(section);
        // Where the arrow begins, the ribbon widens at once.
        const next = i + 1 < last && k === fine ? sizeAt(kinds, i + 1, 0) : null;
        if (next && next[0] !== section.width) {
          found.push({...section, width: next[0], thickness: next[1]});
        }
      }
    }
    return found;
  }

  function lit(colour, normal) {
    const bright = Math.max(0, dot(normal, LIGHT));
    const dull = mix([0, 0, 0], colour, 0.5 + 0.5 * bright);
    return mix(dull, WHITE, 0.45 * bright ** 8);
  }

  // The faces of a ribbon that look at the viewer.
  function addRibbon(sections, corners, project, colourOf, found) {
    const ring = [...Array(corners).keys()].map((q) => (2 * Math.PI * (q + 0.5)) / corners);
    const rims = sections.map(({place, side, normal, width, thickness}) => ring.map((angle) =>
      project(along(along(place, side, width * Math.cos(angle)),
        normal, thickness * Math.sin(angle)))));
    const facing = (points) => {
      let area = 0;
      points.forEach((p, k) => {
        const q = points[(k + 1) % points.length];
        area += p.x * q.y - q.x * p.y;
      });
      return area < -1e-3; // y goes down.
    };
    const add = (points, normal, at) => {
      if (!facing(points)) return;
      const depth = points.reduce((sum, p) => sum + p.z, 0) / points.length;
      found.push({points, depth, colour: lit(colourOf(at), normal)});
    };
    for (let k = 0; k + 1 < sections.length; k++) {
      const {side, normal, width, thickness, axis, at} = sections[k];
      const jump = sections[k + 1].at === at;
      for (let q = 0; q < corners; q++) {
        const r = (q + 1) % corners;
        const angle = ring[q] + Math.PI / corners;
        const out = jump ? axis.map((x) => -x) : unit(along(
          side.map((x) => x * thickness * Math.cos(angle)), normal, width * Math.sin(angle)));
        add([rims[k][q], rims[k][r], rims[k + 1][r], rims[k + 1][q]], out, at);
      }
    }
    const end = sections.length - 1;
    add([...rims[0]].reverse(), sections[0].axis.map((x) => -x), sections[0].at);
    add(rims[end], sections[end].axis, sections[end].at);
  }

  function addBackbone(data, clip, frame, trace, project, colourOf, found) {
    const {length, breaks} = data;
    const kinds = [...clip.structure.slice(length * frame, length * (frame + 1))].map(Number);
    const [fine, corners] = length > 400 ? [2, 6] : length > 150 ? [4, 6] : [5, 8];
    const {ca} = trace;
    const isLong = (i) => Math.hypot(...ca[i].map((x, k) => ca[i + 1][k] - x)) > STRETCHED;
    let first = 0;
    for (const last of [...breaks, length - 1]) {
      let begin = first;
      for (let i = first; i <= last; i++) {
        const stretched = i < last && isLong(i);
        if (i < last && !stretched) continue;
        if (i === begin) {
          found.push({ball: project(ca[i]), depth: ca[i][2], colour: colourOf(i)});
        } else {
          addRibbon(sectionsOf(trace, kinds, begin, i, fine), corners, project, colourOf, found);
        }
        if (stretched) {
          const [from, to] = [project(ca[i]), project(ca[i + 1])];
          found.push({from, to, depth: 0.5 * (from.z + to.z), colour: colourOf(i), thin: true});
        }
        begin = i + 1;
      }
      first = last + 1;
    }
  }

  function addSticks(data, clip, frame, trace, turn, project, colourOf, found) {
    const {residue, elements, bonds} = data.sticks;
    const start = 3 * residue.length * frame;
    const places = residue.map((i, k) => {
      const at = start + 3 * k;
      const [x, y, z] = [0, 1, 2].map((n) => STICK_UNIT * clip.side[at + n]);
      return along(trace.ca[i], turned(turn, x, y, z), 1);
    });
    // Below zero: CA of residue -1 - k.
    const placeOf = (k) => (k < 0 ? trace.ca[-1 - k] : places[k]);
    const colourOfAtom = (k) => {
      const own = ELEMENTS[k < 0 ? 'C' : elements[k]];
      return own || mix(colourOf(k < 0 ? -1 - k : residue[k]), WHITE, 0.25);
    };
    for (let k = 0; k < bonds.length; k += 2) {
      const [a, b] = [placeOf(bonds[k]), placeOf(bonds[k + 1])];
      const [from, to] = [project(a), project(b)];
      const [one, other] = [colourOfAtom(bonds[k]), colourOfAtom(bonds[k + 1])];
      if (css(one) === css(other)) {
        found.push({from, to, depth: 0.5 * (from.z + to.z), colour: one});
        continue;
      }
      const half = project(mix(a, b, 0.5));
      found.push({from, to: half, depth: 0.5 * (from.z + half.z), colour: one});
      found.push({from: half, to, depth: 0.5 * (half.z + to.z), colour: other});
    }
  }

  // Everything of one frame of a clip, as faces, lines and balls.
  function add(data, clip, frame, {turn, project, colourOf, withSticks}, found) {
    const trace = backbone(clip, frame, data.length, turn);
    addBackbone(data, clip, frame, trace, project, colourOf, found);
    if (withSticks && clip.side) {
      addSticks(data, clip, frame, trace, turn, project, colourOf, found);
    }
    return trace.ca;
  }

  function line(context, from, to, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
  }

  function paint(context, {points, ball, from, to, thin, colour, depth}, radius) {
    const fog = 0.62 * Math.max(0, Math.min(0.5 - depth / (2 * radius), 1));
    const base = mix(colour, WHITE, fog);
    if (points) {
      context.fillStyle = css(base);
      context.beginPath();
      let [x, y] = [0, 0];
      for (const p of points) [x, y] = [x + p.x / points.length, y + p.y / points.length];
      for (const p of points) {
        // A little wider: between faces that only meet, the background shines through.
        const out = 1 + 0.5 / (Math.hypot(p.x - x, p.y - y) + 0.1);
        context.lineTo(x + out * (p.x - x), y + out * (p.y - y));
      }
      context.fill();
    } else if (ball) {
      context.fillStyle = css(base);
      context.beginPath();
      context.arc(ball.x, ball.y, 2 * SIZES[COIL][0] * ball.scale, 0, 2 * Math.PI);
      context.fill();
    } else if (thin) {
      line(context, from, to, css(base), Math.max(1, 0.24 * from.scale));
    } else {
      const width = Math.max(1.2, 2 * STICK * from.scale);
      line(context, from, to, css(mix(base, [0, 0, 0], 0.35)), width);
      line(context, from, to, css(base), 0.6 * width);
    }
  }

  return {add, paint, mix, css};
})();
