// Package owner tells the people at a PC what the agent does there, and does what they say: over the local socket
// (Server), and for the page on loopback.
//
// It promises: whoever is logged in at the PC may look, pause, resume and stop, and no policy and no operator can
// forbid it. They may set what the machine's policy does not lock. Services and scheduled jobs may do nothing. What ever
// ran here is kept in the state folder (History), bounded, and written when a job ends and at most once an hour else: an
// idle agent writes nothing.
//
// It decides nothing and measures nothing: package harvest does.
package owner
