package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/gossip"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// spreadEvery is how often records are compared with one random peer and with co-stewards.
	spreadEvery = time.Minute
	// askFirst is with how many a peer that has just started compares.
	askFirst = 3
	// settleTime is when records are compared for the second time after joining, and how long a peer must be alone
	// to count as reachable.
	settleTime = 30 * time.Second
	// rejoinEvery is how often a peer that sees nobody tries the addresses that it knows.
	rejoinEvery = 10 * time.Second
	// reachEvery is how often a peer that nobody could dial back asks again; reachAgain, how often a
	// reachable one makes sure.
	reachEvery = 5 * time.Second
	// lookEvery is how often a peer that sees nobody looks for others: the first dial back makes it count.
	lookEvery  = 200 * time.Millisecond
	reachAgain = 10 * time.Minute
	sweepEvery = 10 * time.Minute
	// callTimeout bounds the small calls below.
	callTimeout = 10 * time.Second
	// offerWithin is how soon stewards that are new to a shard are offered what is kept of it.
	offerWithin = 5 * time.Second
	// maxVisits bounds the peers that records are compared with at once.
	maxVisits = 32
	// syncTimeout bounds one comparison. What came through until then stays.
	syncTimeout = 30 * time.Second
	// maxLearning bounds the unknown jobs that are fetched at once.
	maxLearning = 4
	// renewRetry spaces attempts to renew a certificate.
	renewRetry = 10 * time.Minute
)

// every calls f at once and then as often as it says, until ctx ends.
func every(ctx context.Context, f func() time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if ctx.Err() != nil {
				return
			}
			timer.Reset(f())
		}
	}
}

// jitter spreads d by a tenth either way, so that a pool that starts at 8:30 does not act in step.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5) }

// knownPeers lists addresses to join by: those that it was told, the coordinator's and those seen last.
func (n *Node) knownPeers() ([]string, error) {
	peers, err := LoadPeers(n.dir)
	if err != nil {
		return nil, err
	}
	known := slices.Clone(n.o.Join)
	for _, p := range slices.Concat(n.grid.Load().Coordinators, peers) {
		if !slices.Contains(known, p) {
			known = append(known, p)
		}
	}
	return known, nil
}

// keepJoined joins the pool and keeps the addresses of those that it sees. Once a minute it tries one that it
// does not see, and those of a coordinator that it does not: two parts of the pool that were cut off for so long
// that each forgot the other find each other again in no other way, and so does a coordinator that was off and has
// lost its disk. It also tries one whose voucher it cannot tell: the first who is certified by a new issuing key knows
// nobody but the coordinator else, until one of the others happens to call.
func (n *Node) keepJoined(ctx context.Context) {
	var again time.Time // not to be tried before
	every(ctx, func() time.Duration {
		others := n.others()
		unseen := n.unseen(others)
		switch {
		case len(others) > 0:
			n.join(ctx, n.missed(others, unseen))
		case !time.Now().Before(again):
			n.join(ctx, unseen)
			again = time.Now().Add(jitter(rejoinEvery))
		}
		if stranger := n.gossip.Stranger(); stranger != "" {
			n.join(ctx, []string{stranger})
		}
		if others = n.others(); len(others) == 0 {
			return time.Second
		}
		n.savePeers(others)
		return jitter(time.Minute)
	})
	n.savePeers(n.others())
}

// rejoin joins by a few of those who were here before this machine slept: from them it hears that it counts as dead,
// and they hear that it does not, instead of when gossip gets round.
func (n *Node) rejoin(ctx context.Context) {
	others := n.others()
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	var addresses []string
	for _, m := range others[:min(len(others), askFirst)] {
		addresses = append(addresses, m.Address)
	}
	unseen := n.unseen(others)
	n.join(ctx, append(addresses, unseen[:min(len(unseen), askFirst)]...))
}

// missed picks from the known addresses at which no member is what to try in a pool that goes on without them.
func (n *Node) missed(others []peer.Member, unseen []string) []string {
	missed := unseen[:min(len(unseen), 1)]
	if slices.ContainsFunc(others, func(m peer.Member) bool { return m.Role == peer.Coordinator }) {
		return missed
	}
	for _, a := range unseen[len(missed):] {
		if slices.Contains(n.grid.Load().Coordinators, a) {
			missed = append(missed, a)
		}
	}
	return missed
}

// unseen returns the known addresses at which no member is, in random order.
func (n *Node) unseen(others []peer.Member) []string {
	known, err := n.knownPeers()
	if err != nil {
		n.log.Warn("cannot read the addresses of peers", "err", err)
	}
	known = slices.DeleteFunc(known, func(a string) bool {
		return a == n.Address() || slices.ContainsFunc(others, func(m peer.Member) bool { return m.Address == a })
	})
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	return known
}

// join tries addresses. Where the pool is not seen at all that it fails is worth a word; of PCs that are off it is not.
func (n *Node) join(ctx context.Context, addresses []string) {
	if _, err := n.gossip.Join(ctx, addresses); err != nil && ctx.Err() == nil {
		level := slog.LevelDebug
		if len(n.others()) == 0 {
			level = slog.LevelInfo
		}
		n.log.Log(ctx, level, "cannot join by an address yet", "addresses", len(addresses), "err", err)
	}
}

// savePeers keeps the addresses of those who are here, and behind them those kept before: a PC that starts
// alone in the evening finds tomorrow those who are off now.
func (n *Node) savePeers(others []peer.Member) {
	addresses := make([]string, 0, len(others))
	for _, m := range others {
		addresses = append(addresses, m.Address)
	}
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	if n.Disk() != nil {
		return // later
	}
	kept, err := LoadPeers(n.dir)
	if err == nil {
		for _, a := range kept {
			if a != n.Address() && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
		if !sameSet(kept, addresses) {
			err = n.disk.Do(func() error { return SavePeers(n.dir, addresses) })
		}
	}
	if err != nil {
		n.log.Warn("cannot keep the addresses of peers", "err", err)
	}
}

// sameSet spares the disk a write when only the order changed.
func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// others returns the members without this peer.
func (n *Node) others() []peer.Member {
	return slices.DeleteFunc(n.Members(), func(m peer.Member) bool { return m.ID == n.ID() })
}

// keepReachable asks peers to dial back and says in gossip whether one could. A peer that nobody can dial
// keeps no ledgers and no blobs of others. Who is alone for a while counts as reachable: there is nobody to ask
// and nobody to mislead, and a pool of one must be able to work without its coordinator.
func (n *Node) keepReachable(ctx context.Context) {
	alone := time.Now()
	every(ctx, func() time.Duration {
		others := n.others()
		if len(others) == 0 {
			if time.Since(alone) < settleTime {
				return lookEvery
			}
			n.update(func(s *gossip.State) { s.Reachable = true })
			n.unreachable.Store(nil)
			return reachEvery
		}
		alone = time.Now()
		reachable, known := n.reachable(ctx, others)
		if known {
			n.update(func(s *gossip.State) { s.Reachable = reachable })
		}
		if reachable {
			return jitter(reachAgain)
		}
		return jitter(reachEvery)
	})
}

// reachable asks up to three random peers. What those do not say who are not there or too busy is not known.
func (n *Node) reachable(ctx context.Context, others []peer.Member) (reachable, known bool) {
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, m := range others[:min(len(others), 3)] {
		err := n.askDialBack(ctx, m)
		if err == nil {
			n.unreachable.Store(nil)
			return true, true
		}
		why := fmt.Sprintf("%s: %s", m.ID.Short(), err)
		n.unreachable.Store(&why)
		kind := jobs.KindOf(err)
		known = known || kind == jobs.NotFound || kind == jobs.Denied
		n.log.Info("a peer did not dial back", "peer", m.ID, "err", err, "hint", jobs.HintOf(err))
	}
	return false, known
}

func (n *Node) askDialBack(ctx context.Context, m peer.Member) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := n.Dialer.Conn(m.Address, m.ID)
	if err != nil {
		return err
	}
	_, err = gridv1.NewMembersClient(conn).DialBack(ctx, &gridv1.DialBackRequest{Address: n.Address()})
	return err
}

func (n *Node) update(change func(*gossip.State)) {
	if err := n.gossip.Update(change); err != nil && !errors.Is(err, net.ErrClosed) {
		n.log.Warn("cannot update what this peer says of itself", "err", err)
	}
}

// keepRenewed renews the certificate when half of its life is over.
func (n *Node) keepRenewed(ctx context.Context) {
	every(ctx, func() time.Duration {
		if wait := time.Until(n.Identity().RenewAt()); wait > 0 {
			return min(wait, time.Hour)
		}
		if err := n.renew(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("cannot renew the certificate", "ends", n.Identity().Caller().NotAfter, "err", err)
		}
		return jitter(renewRetry)
	})
}

func (n *Node) renew(ctx context.Context) error {
	renew := n.o.Renew
	if renew == nil {
		renew = func(ctx context.Context, old *identity.Identity) (*identity.Identity, []byte, error) {
			return Renew(ctx, n.Dialer, old, n.coordinators())
		}
	}
	id, voucher, err := renew(ctx, n.Identity())
	if err != nil {
		return err
	}
	// The voucher is first and says itself how long it is good: with a crash between, it goes with the old
	// certificate as well.
	grid := *n.grid.Load()
	grid.Voucher, grid.VoucherEnds = voucher, endOf(id)
	if err := errors.Join(SaveGrid(n.dir, grid), id.Save(n.dir)); err != nil {
		return err
	}
	n.grid.Store(&grid)
	n.id.Store(id)
	if n.gossip != nil {
		n.update(func(s *gossip.State) { s.Voucher = n.voucher() })
	}
	return nil
}

// renewExpired renews a certificate that ended while this peer was off: without it nobody lets it in.
func (n *Node) renewExpired() error {
	ends := earlier(n.Identity().Caller().NotAfter, n.voucher().NotAfter)
	if time.Now().Before(ends) {
		return nil
	}
	n.log.Info("the certificate ended while this peer was off, renewing it", "ended", ends)
	ctx, cancel := context.WithTimeout(context.Background(), enrolTimeout)
	defer cancel()
	if err := n.renew(ctx); err != nil {
		return jobs.WithHint(fmt.Errorf("renew the certificate that ended on %s: %w", ends.Format(time.DateTime), err),
			"start again when the coordinator runs")
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// coordinators lists where the coordinator may be: where gossip sees it, and where it was when this peer
// enrolled.
func (n *Node) coordinators() []string {
	var out []string
	for _, m := range n.Members() {
		if m.Role == peer.Coordinator {
			out = append(out, m.Address)
		}
	}
	return append(out, n.grid.Load().Coordinators...)
}

// keepSwept forgets jobs that are past their time, and removes the blobs of those that the store has deleted, or
// that have been cancelled or sealed for a while. Blobs that could not be removed are tried again. While this
// machine's clock is off nothing is forgotten.
func (n *Node) keepSwept(ctx context.Context) {
	var late []jobs.JobID
	every(ctx, func() time.Duration {
		n.see()
		if n.Clock().Off {
			return sweepEvery
		}
		ended, free, err := n.Store.Sweep(n.o.Wall())
		if failpoint.Planted("node.last") { // every holder thinks that the others have it
			for _, kept := range n.Blobs.List() {
				err = errors.Join(err, n.Blobs.Delete(kept.Blob.Digest))
			}
		}
		todo := slices.Concat(late, free)
		late = nil
		for _, job := range todo {
			if ferr := blobs.Forget(n.Blobs, job); ferr != nil {
				late, err = append(late, job), errors.Join(err, ferr)
			}
		}
		if err != nil {
			n.log.Warn("cannot forget jobs that have ended", "err", err)
		}
		if len(ended) > 0 {
			call(n.hooks.OnForget, ended)
		}
		return sweepEvery
	})
}

// woken queues a wake; takeWakes looks at it.
func (n *Node) woken(w gossip.Wake) {
	select {
	case n.wakes <- w:
	default: // the jobs of those that wait will do
	}
}

// takeWakes passes wakes on. The manifest of a job that this peer does not know is fetched first, from whoever
// woke it: a few at once, since some may not answer, and each job once at a time.
func (n *Node) takeWakes(ctx context.Context) {
	var learning sync.Map // of jobs.JobID
	var work sync.WaitGroup
	for range maxLearning {
		work.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case w := <-n.wakes:
					n.takeWake(ctx, w, &learning)
				}
			}
		})
	}
	work.Wait()
}

func (n *Node) takeWake(ctx context.Context, w gossip.Wake, learning *sync.Map) {
	if _, err := n.Store.Job(w.Job); err != nil {
		if _, busy := learning.LoadOrStore(w.Job, true); busy {
			return
		}
		err := n.learn(ctx, w)
		learning.Delete(w.Job)
		if err != nil {
			n.log.Info("woken for a job that cannot be fetched", "job", w.Job, "err", err)
			return
		}
	}
	call(n.hooks.OnWake, w.Job)
}

func (n *Node) learn(ctx context.Context, w gossip.Wake) error {
	from, ok := n.Member(w.From)
	if !ok {
		return jobs.Errorf(jobs.NotFound, "it came from %s, which is not in the pool", w.From.Short())
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := n.Dialer.Conn(from.Address, from.ID)
	if err != nil {
		return err
	}
	if err := n.Store.Pull(ctx, conn, records.Scope{}, jobs.Digest(w.Job)); err != nil {
		return err
	}
	_, err = n.Store.Job(w.Job)
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
