package gridtest_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/gridtest"
)

// TestProgramTravelsBetweenAgents: 20 agents run a job with a program of 8 MiB, or of as many as GRID_PROGRAM_MIB says;
// make nightly says 50. The coordinator sends it to its holders and no more, and nobody has to give it to all the others.
func TestProgramTravelsBetweenAgents(t *testing.T) {
	const agents = 20
	size := int64(setting(t, "GRID_PROGRAM_MIB", 8)) << 20
	gridtest.Run(t, agents, func(g *gridtest.Grid) {
		program := make([]byte, size)
		_, err := rand.NewChaCha8([32]byte{1}).Read(program)
		if err != nil {
			t.Fatal(err)
		}
		before := sent(g)
		j := g.User.SubmitProgram(program, 400)
		g.Eventually(10*time.Minute, "all agents have the program", func() bool {
			for _, m := range g.Agents {
				if !m.Node().Blobs.Holds(j.ID, j.Manifest.Program.Digest) {
					return false
				}
			}
			return true
		})
		after := sent(g)
		slack := size / 2 // of all else that is said
		got := after[g.Coordinator] - before[g.Coordinator]
		if got > peer.Copies*size+slack {
			t.Errorf("the coordinator sent %d MB", got>>20)
		}
		total, most := int64(0), int64(0)
		for _, m := range g.Agents {
			n := after[m] - before[m]
			total, most = total+n, max(most, n)
		}
		t.Logf("the coordinator sent %.1f copies, agents %.1f, of which one %.1f", copies(got, size), copies(total, size), copies(most, size))
		if copies(total, size) < agents-peer.Copies {
			t.Errorf("the agents sent %d MB: where did they get the program?", total>>20)
		}
		if copies(most, size) > agents/2 {
			t.Errorf("one agent sent %d MB", most>>20)
		}
		j.Await(10 * time.Minute)
	})
}

func copies(n, size int64) float64 { return float64(n) / float64(size) }

// sent returns how many bytes each machine has sent.
func sent(g *gridtest.Grid) map[*gridtest.Machine]int64 {
	out := map[*gridtest.Machine]int64{}
	for _, m := range append(g.Agents, g.Coordinator) {
		out[m] = g.Net.Sent(m.IP)
	}
	return out
}
