package agent

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxViewer bounds the name of who looks at a machine, in bytes.
const maxViewer = 200

// machine tells the coordinator how this agent is.
type machine struct {
	gridv1.UnimplementedMachineServer
	agent *Agent
}

// Inspect tells it, and the machine's owner who looked.
func (s *machine) Inspect(ctx context.Context, req *gridv1.InspectRequest) (*gridv1.InspectReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Machine_Inspect_FullMethodName); err != nil {
		return nil, err
	}
	who, a := req.GetViewer(), s.agent
	if who == "" || len(who) > maxViewer || !utf8.ValidString(who) || strings.ContainsFunc(who, unicode.IsControl) {
		return nil, jobs.Errorf(jobs.Invalid, "who looks at this machine: expected a name of at most %d bytes", maxViewer)
	}
	if a.o.Hooks.Looked != nil {
		a.o.Hooks.Looked(who+", by the coordinator's page", "this machine: version, clock, certificate, how much it keeps")
	}
	st := a.node.Status()
	reply := &gridv1.InspectReply{
		Build: program.VersionOf("gridagent").Version, CertificateEndsMs: st.GetCertificateEndsMs(),
		ClockAheadMs: st.GetClock().GetAheadMs(), ClockOff: st.GetClock().GetOff(),
		Blobs: st.GetDisk().GetBlobs(), BlobBytes: st.GetDisk().GetBytes(),
		DrainingWhy: st.GetDrainingWhy(), UnreachableWhy: st.GetUnreachableWhy(),
	}
	if a.node.Disk() != nil {
		reply.DrainingWhy = "it cannot write to its state folder" // in which folder, only the machine says
	}
	return reply, nil
}
