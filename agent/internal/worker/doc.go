// Package worker runs units: it asks a steward for bundles, fetches what they need, runs them in slots,
// packs and reports the outcomes, and keeps offering the reports until enough stewards have them.
//
// All state belongs to one goroutine. A step takes what happened (a unit ended, a steward answered, a wake
// came, the time) and starts what follows, each in a goroutine of its own that ends with one event:
//
//	exchange ─▶ queue ─▶ slots ─▶ finished ─▶ pack, receipts, journal ─▶ push to stewards ─▶ forgotten
//	    ▲         │ (held: everything from here to the push that the lending steward kept)    │
//	    └─────────┴──────────────────────────────────────────────────────────────────────────┘
//
// What goes wrong where:
//   - a unit fails: its failure is reported; the steward lends it again, elsewhere if it can;
//   - this agent fails (disk, blobs out of reach, executor cannot start): the bundles go back unreported and
//     the job rests here for a while;
//   - no steward answers: nothing new starts once the last answer is older than a lease lives; what is
//     finished stays in the journal and is offered until it is kept;
//   - the lease was lost: the steward says drop, the units stop.
package worker
