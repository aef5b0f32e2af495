package node

import (
	"os"
	"path/filepath"
	"testing"

	"idlegrid/jobs"
)

// TestRemoveAgentInUse: nothing is removed under a process that runs, which may have been started just before. When it
// has ended all goes, and nothing can start there.
func TestRemoveAgentInUse(t *testing.T) {
	inPool(t, func(p *pool) {
		state := p.folder()
		n, err := p.open(1, state)
		p.must(err)
		if err := RemoveAgent(state); jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("removed under a process: %v", err)
		}
		for _, name := range []string{gridFile, "chain.pem", "key.pem", recordsFile, blobsFolder} {
			if _, err := os.Stat(filepath.Join(state, name)); err != nil {
				t.Error(err)
			}
		}
		p.must(n.Close())
		p.net.Stop("10.0.0.1")
		// What a write that was interrupted leaves.
		p.must(os.WriteFile(filepath.Join(state, ".tmp-1"), nil, 0o600))
		p.must(RemoveAgent(state))
		if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
			t.Errorf("left %v (%v)", left, err)
		}
		if _, err := p.open(1, state); jobs.KindOf(err) != jobs.NotFound {
			t.Errorf("started on nothing: %v", err)
		}
	})
}
