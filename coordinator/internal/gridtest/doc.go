// Package gridtest is a whole grid in one process and in virtual time, for tests: the real coordinator, real
// agents and submitters, in one synctest bubble. Only their network is in memory (agent/peer/simnet), and only
// what runs the units is a function. State folders, records and blobs are on disk, as always; TLS, gossip, gRPC
// and fsync are the real ones. It starts no process.
//
// A simulation is a few lines:
//
//	func TestMyFault(t *testing.T) {
//		gridtest.Run(t, 3, func(g *gridtest.Grid) {
//			g.Work(gridtest.Takes(time.Second)) // how long each unit runs
//			j := g.Submit(100)                  // by the Submit RPC, with its uploads
//			time.Sleep(5 * time.Second)         // in virtual time
//			g.Agents[1].Cut()                   // its power is gone
//			j.Await(5 * time.Minute)            // nothing of the job is open
//			j.Each(1, 2)                        // each unit ran once or twice
//			j.Complete()                        // all accepted, and a submitter gets the right outcomes
//		})
//	}
//
// The verbs are Start, Stop, Cut, Wipe, Lose, Fill, Skew, Move and Clone of a Machine; Partition, CutWays and Heal of
// the Grid; Submit of a
// User; Await and Cancel of a Job. What happened is asked of the records (Counts, LedgersEqual, Acknowledged,
// Missing), of what ran (Ran, RanOn, Each), and of a submitter's own reader (Outcomes, Complete), which
// asks two stewards, unites what they say and fetches packs, as gridctl does.
//
// TestChaos draws all of this by a seed, for a day of an office.
//
// Assert that a fault took effect: a simulation in which nothing went wrong shows nothing. In a bubble use neither
// t.Run nor t.Parallel (Run does that), and no real sockets. memberlist and the order of goroutines are not
// repeatable: assert bounds, not exact times. GRID_LOG=1 shows what the machines log, GRID_SEED=n repeats the
// choices that g.Rand makes.
package gridtest
