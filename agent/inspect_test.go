package agent

import (
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestInspectNamesWhoLooks: nobody looks at a machine without a name that its owner can read, and only by the
// coordinator.
func TestInspectNamesWhoLooks(t *testing.T) {
	var heard []string
	m := &machine{agent: &Agent{o: Options{Hooks: Hooks{Looked: func(who, what string) { heard = append(heard, who+": "+what) }}}}}
	caller := func(role peer.Role) identity.Caller {
		return identity.Caller{Role: role, NotAfter: time.Now().Add(time.Hour)}
	}
	for name, c := range map[string]struct {
		role   peer.Role
		viewer string
		want   jobs.ErrorKind
	}{
		"no name":      {peer.Coordinator, "", jobs.Invalid},
		"a long name":  {peer.Coordinator, strings.Repeat("x", maxViewer+1), jobs.Invalid},
		"two lines":    {peer.Coordinator, "anna\nbob", jobs.Invalid},
		"no text":      {peer.Coordinator, "\xff", jobs.Invalid},
		"an operator":  {peer.Operator, "operator anna", jobs.Denied},
		"a submitter":  {peer.Submitter, "operator anna", jobs.Denied},
		"an agent":     {peer.Agent, "operator anna", jobs.Denied},
		"nobody known": {peer.Anonymous, "operator anna", jobs.Denied},
	} {
		_, err := m.Inspect(rpc.WithCaller(t.Context(), caller(c.role)), &gridv1.InspectRequest{Viewer: c.viewer})
		if err == nil || jobs.KindOf(err) != c.want || len(heard) > 0 {
			t.Errorf("%s: %v, heard %q", name, err, heard)
		}
	}
}
