package ctl

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/node"
)

// TestCompletionIsQuickAndSilent asks for jobs where the only known peer takes connections and says nothing, as
// behind some firewalls: a person who hits Tab gets nothing, soon, and no message in their command line.
func TestCompletionIsQuickAndSilent(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close() // Nobody is served.
	folder := filepath.Join(t.TempDir(), "login")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() // What was written is read below.
	if err := identitytest.NewGrid(t).Role(peer.Submitter, "alice").Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := node.SaveGrid(dir, node.Grid{Coordinators: []string{hole.Addr().String()}}); err != nil {
		t.Fatal(err)
	}
	var out, messages bytes.Buffer
	started := time.Now()
	code := Main([]string{"__completeNoDesc", "status", "--config", folder, ""}, nil, &out, &messages)
	if took := time.Since(started); took < completeTimeout || took >= askTimeout {
		t.Errorf("took %s, expected about %s", took, completeTimeout)
	}
	if code != exitDone || out.String() != ":4\n" {
		t.Errorf("exit code %d, completes %q, expected nothing\n%s", code, out.String(), messages.String())
	}
}
