package coordinator

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxShards bounds the shards of a job that the page shows one by one.
const maxShards = 64

// openPage opens the page for browsers, if there is to be one, and answers calls for links to it either way.
func (c *Coordinator) openPage(dial func(string, jobs.AgentID) (grpc.ClientConnInterface, error), prices costs.Settings) error {
	if c.o.Page.Address != "" {
		at, err := netip.ParseAddrPort(c.Address())
		if err == nil {
			c.reader, err = c.newReader(dial)
		}
		if err != nil {
			return err
		}
		c.page, err = web.New(web.Options{
			Settings: c.o.Page, State: c.dir, Own: at.Addr(), Log: c.o.Log, Grid: web.Grid{
				ID: program.ShortJob(identity.GridID(c.node.Identity().Root)), Jobs: c.pageJobs, Job: c.pageJob, Details: c.details,
				Members: c.node.Members, Harvest: c.book.Harvest, Costs: prices,
				Inspect: func(ctx context.Context, m peer.Member, viewer string) (web.Machine, error) {
					conn, err := dial(m.Address, m.ID)
					if err != nil {
						return web.Machine{}, err
					}
					r, err := gridv1.NewMachineClient(conn).Inspect(ctx, &gridv1.InspectRequest{Viewer: viewer})
					return machineFromProto(r), err
				},
			},
		})
		if err != nil {
			return err
		}
	}
	gridv1.RegisterPageServer(c.node.Server, &web.Service{Page: c.page})
	return nil
}

func machineFromProto(r *gridv1.InspectReply) web.Machine {
	return web.Machine{
		Build: program.Brief(r.GetBuild(), maxText), CertificateEnds: program.Moment(r.GetCertificateEndsMs()),
		ClockAhead: time.Duration(r.GetClockAheadMs()) * time.Millisecond, ClockOff: r.GetClockOff(), Blobs: r.GetBlobs(), BlobBytes: r.GetBlobBytes(),
		Draining: program.Brief(r.GetDrainingWhy(), maxText), Unreachable: program.Brief(r.GetUnreachableWhy(), maxText),
	}
}

func (c *Coordinator) pageJobs() []web.Job {
	live := c.node.Store.Jobs(false)
	slices.Reverse(live)
	out := make([]web.Job, len(live))
	for i, j := range live {
		out[i] = c.webJob(j)
	}
	return out
}

func (c *Coordinator) pageJob(id jobs.JobID) (web.Job, error) {
	j, err := c.node.Store.Job(id)
	if err != nil {
		return web.Job{}, err
	}
	return c.webJob(j), nil
}

func (c *Coordinator) webJob(j records.Job) web.Job {
	m, n := j.Manifest, c.gather.Job(j)
	out := web.Job{
		ID: j.ID, Name: m.Name, Submitter: m.Submitter, Owner: c.node.Store.Owner(m.Submitter), State: c.stateOf(j, n),
		Units: m.Units, Open: n.Open, Accepted: n.Accepted, Failed: n.Failed, Conflict: n.Conflict, Lent: n.Lent, Agents: n.Agents,
		CPU: n.CPU, Rate: n.Rate, Created: m.Created, Expires: m.Expires,
	}
	if s := c.seeder.Progress(j.ID); s.Agents == 0 && s.Why != nil {
		out.Waits = program.Brief(s.Why.Error(), maxText)
	}
	return out
}

func (c *Coordinator) details(ctx context.Context, id jobs.JobID) (*web.Details, error) {
	j, err := c.node.Store.Job(id)
	if err != nil {
		return nil, err
	}
	d := &web.Details{Job: c.webJob(j), Manifest: j.Manifest}
	var failed []uint64
	for n, s := range c.gather.Shards(j, maxShards) {
		d.Shards = append(d.Shards, web.Shard{
			Number: uint32(n), Stewards: s.GetStewards(), Open: s.GetOpen(), Accepted: s.GetAccepted() + s.GetSealed(), Failed: s.GetFailed(),
		})
		failed = append(failed, s.GetFailed()+s.GetConflict())
	}
	f, err := c.reader.find(ctx, j, failed)
	d.Inputs, d.Failures, d.Problems = f.inputs, f.failures, f.problems
	return d, err
}
