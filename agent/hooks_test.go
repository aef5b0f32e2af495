package agent

import (
	"slices"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/rpc"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestEveryReadingIsNoted: of what people may call, an owner hears of all that reads something.
func TestEveryReadingIsNoted(t *testing.T) {
	gives := []string{ // or speaks with the coordinator
		gridv1.Page_Open_FullMethodName, gridv1.Coordinator_Enrol_FullMethodName, gridv1.Coordinator_Renew_FullMethodName, gridv1.Coordinator_Submit_FullMethodName,
		gridv1.Accounts_List_FullMethodName, gridv1.Records_Push_FullMethodName, gridv1.Blobs_Put_FullMethodName,
	}
	known := readings()
	for method, rule := range rpc.Access() {
		open := slices.Contains(rule.Roles, peer.Submitter) || slices.Contains(rule.Roles, peer.Operator)
		if reads := open && !slices.Contains(gives, method); reads != (known[method] != "") {
			t.Errorf("%s reads something for people: %t, in words: %q", method, reads, known[method])
		}
		delete(known, method)
	}
	if len(known) > 0 {
		t.Errorf("no methods: %v", known)
	}
}
