package gridtest_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// lies are what a steward answers that lies.
func lies() []func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	slow := func(ctx context.Context) {
		select { // else agents would ask again at once, all the time
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	return []func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error){
		func(ctx context.Context, _ *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			return &gridv1.ExchangeReply{AgainMs: 15000}, nil
		},
		func(ctx context.Context, _ *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			slow(ctx)
			return &gridv1.ExchangeReply{AgainMs: 1000, Open: 50, Lend: []*gridv1.Run{{Count: 50}}, Drop: []*gridv1.Run{{Count: 50}}}, nil
		},
		func(ctx context.Context, _ *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			slow(ctx)
			return &gridv1.ExchangeReply{AgainMs: 1000, Open: 50, Lend: []*gridv1.Run{{Count: 2}}}, nil
		},
	}
}

// lyingSteward has a villain be the first steward of a job: it says that it keeps what it does not, and lends as it
// likes.
func (c *chaos) lyingSteward() (end func(), lasts time.Duration, ok bool) {
	if !c.Coordinator.On() || c.cut || len(c.free()) < 3 {
		return nil, 0, false
	}
	lie, _ := pick(c.Rand, lies())
	bad := &badSteward{answer: lie}
	v := c.Intrude(func(*gridtest.Villain) gridtest.Services { return gridtest.Services{Steward: bad, Records: bad} })
	c.Eventually(2*time.Minute, "the villain is a member", func() bool {
		m, seen := c.Coordinator.Node().Member(v.Identity.ID())
		return seen && m.Eligible()
	})
	c.submit(20, c.between(10*time.Second, time.Minute), 0, func(m *manifest.Manifest) {
		m.Timeout = time.Minute + 30*time.Second
		v.FirstSteward(m)
	})
	return c.later("a villain", func() bool { return bad.asked.Load() > 0 }, func() { // all may be at long units
		if bad.asked.Load() == 0 {
			c.t.Errorf("%s: nobody asked the villain", c.clock())
		}
		v.Leave()
	}), c.spell(), true
}

// lyingAgent cuts the grid in two and has an agent report wrong outcomes of a job's units to a steward on one side,
// while honest ones run them on the other: who hears what first differs, and what holds in the end must not (I2,
// I12). The submitter settles it.
func (c *chaos) lyingAgent() (end func(), lasts time.Duration, ok bool) {
	if !c.Coordinator.On() || c.cut || len(c.free()) < 6 {
		return nil, 0, false
	}
	w := c.bait // of the last try, which came to nothing
	if w == nil || w.over() || w.Done() {
		w = c.submitBy(c.NewUser(peer.Submitter, fmt.Sprint("user ", len(c.jobs))), 4, time.Minute, 0, nil)
		c.bait, w.collect = w, false
		time.Sleep(time.Second)
	}
	stewards := c.Coordinator.Stewards(w.Job)
	if len(stewards) < 3 {
		return nil, 0, false
	}
	var as, bs []*gridtest.Machine
	for _, m := range append(slices.Clone(c.Agents), c.Coordinator) {
		if m == stewards[1] || m == stewards[2] || m != stewards[0] && c.Rand.IntN(3) == 0 {
			as = append(as, m)
		} else {
			bs = append(bs, m)
		}
	}
	if !slices.ContainsFunc(bs, func(m *gridtest.Machine) bool { return m.On() && m.Node().Blobs.Holds(w.ID, w.Manifest.Program.Digest) }) {
		return nil, 0, false // the honest could not run it
	}
	if len(c.InHand(w.on(c)...)) == 0 || c.struck[stewards[0]] || c.struck[stewards[1]] || c.struck[stewards[2]] {
		return nil, 0, false
	}
	c.bait, w.lied = nil, true
	for _, m := range stewards[:2] {
		c.struck[m] = true
	}
	c.Partition(as, bs)
	stewards[1].Give(c.forged(w, stewards[1], stewards[2]))
	mend := c.cutting("partition with a liar")
	return c.later("a liar", func() bool { return w.Counts(stewards[0]).Accepted == w.units }, func() {
		honest := w.Counts(stewards[0]).Accepted
		if w.Counts(stewards[1]).Accepted < w.units || honest == 0 {
			c.t.Errorf("%s: %d units are accepted on one side, %d of them on the other, of %d", c.clock(), honest, w.Counts(stewards[1]).Accepted, w.units)
		}
		for _, m := range stewards[:2] {
			delete(c.struck, m)
			c.bring(m)
		}
		mend()
	}), 5 * time.Minute, true
}

// on returns the machines that run units of a job now.
func (w *work) on(c *chaos) []*gridtest.Machine {
	return slices.DeleteFunc(c.On(), func(m *gridtest.Machine) bool { return !slices.Contains(c.running(m), w) })
}

// forged returns a report of an agent that lies about every unit. Two machines hold its pack.
func (c *chaos) forged(w *work, holders ...*gridtest.Machine) records.Offer {
	liar := c.Identity(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn})
	var outcomes []record.UnitOutcome
	r := &record.Report{Job: w.ID, Author: liar.ID(), Counter: 1, Runtime: "gridtest 1", Platform: "none"}
	for unit := range w.units {
		o := record.Outcome{Stdout: fmt.Appendf(nil, "wrong %d\n", unit)}
		outcomes = append(outcomes, record.UnitOutcome{Unit: unit, Bytes: o.Encode()})
		r.Bundles = append(r.Bundles, record.BundleReport{Bundle: unit, Units: []record.UnitReport{{Unit: unit, Outcome: o.Digest()}}})
	}
	pack := record.EncodePack(outcomes)
	r.Pack = jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))}
	offer := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeReport, r.Encode(), liar.Key)}, Chains: [][][]byte{liar.Chain},
	}
	for _, m := range holders {
		if err := m.Node().Blobs.Put(blobs.Claim{Job: w.ID, Kind: blobs.Pack}, r.Pack, bytes.NewReader(pack)); err != nil {
			c.t.Fatal(err)
		}
		id := m.Node().Identity()
		receipt := record.Receipt{Holder: id.ID(), Blob: r.Pack, Job: w.ID}
		offer.Receipts = append(offer.Receipts, record.Sign(record.TypeReceipt, receipt.Encode(), id.Key))
	}
	return offer
}

// rule has the submitter of a job settle what was lied about.
func (c *chaos) rule(w *work) {
	r := record.Ruling{Job: w.ID, Sequence: 1}
	for unit := range w.units {
		o := gridtest.Compute(w.Manifest.Program.Digest, unit)
		r.Units = append(r.Units, record.RuledUnit{Unit: unit, Outcome: o.Digest()})
	}
	push(c.t, w.By, c.Agents[0], records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeRuling, r.Encode(), w.By.Identity.Key)},
		Chains: [][][]byte{w.By.Identity.Chain},
	})
}
