/*
 * exp, log1p, softplus, silu, sigmoid, tanh, softcap and gelu as fixed sequences of float32 operations. native/portable/math.ts has the same
 * sequences; both change together.
 *
 * exp(x), at most 1.5 ulp off:
 *   y = max(-104, min(89, x)), where min and max give their second operand for NaN
 *   t = fma(y, log2 e, 1.5 * 2^23);  n = t - 1.5 * 2^23, the integer nearest to y * log2 e
 *   r = fma(n, -ln2 low, fma(n, -ln2 high, y))
 *   p = Horner by fma over E6 .. E2, 1, 1 (a minimax fit over half of ln 2)
 *   p * 2^n, rounded once: overflows to infinity, underflows through denormals to zero
 *
 * log1p(u), 0 <= u <= 2^30, a few ulp off also where the result is tiny:
 *   w = 1 + u, and `lost` = what that sum lost (Knuth's two-sum)
 *   w = 2^k * m, sqrt(1/2) <= m < sqrt(2), by the bits;  f = fma(lost, 2^-k, m - 1)
 *   p = Horner by fma over L10 .. L3;  y = (f * f^2) * p
 *   y = fma(k, ln2 low, y);  y = fma(-1/2, f^2, y);  fma(k, ln2 high, f + y)
 *
 * softplus(x) = x > 20 ? x : log1p(exp(x));  silu(x) = x / (1 + exp(-x))
 *
 * sigmoid(x), at most 2.5 ulp off, also where it is denormal: e = exp(-|x|);  (x > 0 ? 1 : e) / (1 + e)
 *
 * tanh(x), at most 2 ulp off: |x| > 5/8: 1 - 2 / (exp(2 |x|) + 1) with the sign of x; else z = x^2,
 *   p = Horner by fma over T4 .. T0 (a minimax fit);  fma(x * z, p, x)
 *
 * softcap(x, cap) = cap * tanh(x / cap)
 *
 * gelu(x), the tanh form 0.5 x (1 + tanh(k x (1 + a x^2))), k = sqrt(2 / pi), a = 0.044715, as x over 1 + an exponential:
 *   x / (1 + exp(-2k * (x * fma(a * x, x, 1)))), the same function, and nothing cancels where x is negative
 */
#pragma once

namespace {

LANES V vexp(V x) {
  const V y = vmax(vset(-104.0f), vmin(vset(89.0f), x));
  const V magic = vset(12582912.0f);
  const V t = vfma(y, vset(1.4426950216293335f), magic);
  const V n = vsub(t, magic);
  const V r = vfma(n, vset(0.00021219444170128554f), vfma(n, vset(-0.693359375f), y));
  V p = vfma(vset(0.0013814467238262296f), r, vset(0.008368780836462975f));
  p = vfma(p, r, vset(0.04166839271783829f));
  p = vfma(p, r, vset(0.1666651964187622f));
  p = vfma(p, r, vset(0.4999999403953552f));
  p = vfma(p, r, vset(1.0f));
  p = vfma(p, r, vset(1.0f));
  return vscale(p, n, t);
}

LANES V vlog1p(V u) {
  const V one = vset(1.0f);
  const V w = vadd(one, u);
  const V bb = vsub(w, one);
  const V lost = vadd(vsub(one, vsub(w, bb)), vsub(u, bb));
  const VI k = isra<23>(isub(vbits(w), iset(0x3f3504f3)));
  const V m = vfloat(isub(vbits(w), ishl<23>(k)));
  const V f = vfma(lost, vfloat(ishl<23>(isub(iset(127), k))), vsub(m, one));
  V p = vfma(vset(-0.07635652273893356f), f, vset(0.1276332437992096f));
  p = vfma(p, f, vset(-0.1316058188676834f));
  p = vfma(p, f, vset(0.14201553165912628f));
  p = vfma(p, f, vset(-0.16623298823833466f));
  p = vfma(p, f, vset(0.20001234114170074f));
  p = vfma(p, f, vset(-0.250008225440979f));
  p = vfma(p, f, vset(0.3333333134651184f));
  const V f2 = vmul(f, f), exponent = vconvert(k);
  V y = vmul(vmul(f, f2), p);
  y = vfma(exponent, vset(-0.00021219444170128554f), y);
  y = vfma(vset(-0.5f), f2, y);
  return vfma(exponent, vset(0.693359375f), vadd(f, y));
}

LANES V vsoftplus(V x) { return vifGreater(x, vset(20.0f), x, vlog1p(vexp(x))); }

LANES V vsilu(V x) { return vdiv(x, vadd(vset(1.0f), vexp(vneg(x)))); }

/* |x|; NaN stays NaN. */
LANES V vsize(V x) { return vmax(x, vneg(x)); }

LANES V vsigmoid(V x) {
  const V one = vset(1.0f), e = vexp(vneg(vsize(x)));
  return vdiv(vifGreater(x, vzero(), one, e), vadd(one, e));
}

LANES V vtanh(V x) {
  const V one = vset(1.0f), size = vsize(x), z = vmul(x, x);
  V p = vfma(vset(-0.005704986862838268f), z, vset(0.02063908614218235f));
  p = vfma(p, z, vset(-0.05373971536755562f));
  p = vfma(p, z, vset(0.13331441581249237f));
  p = vfma(p, z, vset(-0.3333328068256378f));
  const V near = vfma(vmul(x, z), p, x);
  const V far = vsub(one, vdiv(vset(2.0f), vadd(vexp(vadd(size, size)), one)));
  return vifGreater(size, vset(0.625f), vifGreater(x, vzero(), far, vneg(far)), near);
}

/* cap * tanh(x / cap) */
LANES V vsoftcap(V x, V cap) { return vmul(cap, vtanh(vdiv(x, cap))); }

LANES V vgelu(V x) {
  const V one = vset(1.0f);
  const V inner = vmul(x, vfma(vmul(vset(0.04471499845385551f), x), x, one));
  return vdiv(x, vadd(one, vexp(vmul(vset(-1.5957691669464111f), inner))));
}

}  // namespace
