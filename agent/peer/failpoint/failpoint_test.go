//go:build !failpoints

package failpoint_test

import (
	"os"
	"path/filepath"
	"testing"

	"idlegrid/agent/peer/failpoint"
)

// TestOrdinaryBuild arms a point and plants a bug in a build without the tag: nothing happens.
func TestOrdinaryBuild(t *testing.T) {
	file := filepath.Join(t.TempDir(), "armed")
	if err := os.WriteFile(file, []byte("test"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("IDLEGRID_FAILPOINT", file)
	failpoint.Hit("test")
	t.Setenv("IDLEGRID_PLANTED", "test")
	if failpoint.Planted("test") {
		t.Error("a bug is planted")
	}
}
