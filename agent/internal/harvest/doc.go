// Package harvest decides how much work may run on this PC, and remembers how well it kept out of its owner's way.
//
//	signals ─▶ Decide (pure) ─▶ Apply: executors stop, go on, units go back
//	policy ───▲        │
//	commands ─┘        └──▶ why, the last day's decisions, histograms, the cores that gossip offers
//
// Laws of a decision, each tested:
//   - what is not known, or is older than signals.Stale, counts as the owner being here; it never lets anything run;
//   - more activity of the owner never gives more cores;
//   - the owner's pause always wins, and only the owner lifts it;
//   - fewer cores at once, more of them late: a signal that toggles each second starts nothing;
//   - core by core: where others use 4.2 of 8 cores, work has 3;
//   - where memory is short, work goes back at once instead of being frozen.
//
// An agent of class always-on has no owner: it may use all cores unless it is paused, and looks at no signal.
//
// What is kept in the state folder: the owner's pause, at once, and figures (two histograms of promise P9, disturbances,
// CPU time a day), only when they changed and at most once an hour, or a minute where they are exported. The decisions of
// the last day and what the processor did are kept in memory only: they tell when the owner was here, and no file has to
// know that.
package harvest
