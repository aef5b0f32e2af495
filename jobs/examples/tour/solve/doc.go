// Package solve finds a short tour through all airports: one try of many, which its seed tells from the others.
//
// It begins at a random airport and always flies to the nearest one not yet visited (greedy). Then 2-opt (replace
// two legs by two others) and Or-opt (move a few airports elsewhere) improve the tour until neither finds anything,
// looking only at each airport's nearest neighbours, and only where something has changed since. From there on it is
// an iterated local search: a kick disturbs the tour at a random place, the two moves repair it, and what did not
// make it shorter, or left it as long, is undone.
//
// It promises that the same airports, seed and number of kicks give the same tour, on any machine whose arithmetic
// is that of WebAssembly, and that its work is bounded by the number of kicks: it looks at no clock. It does not
// promise the shortest tour; the grid's other units may find a shorter one.
package solve
