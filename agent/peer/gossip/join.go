package gossip

import (
	"context"
	"errors"
	"net"
	"slices"

	"idlegrid/jobs"
)

const (
	maxJoin      = 64 // addresses that one Join tries
	joinAtOnce   = 4  // PCs that are off answer only after a time-out
	joinedEnough = 3  // a peer's view may be stale; three of them are hardly stale in the same way
)

// Join exchanges membership with the peers at the addresses (host:port), whoever they are, until three of
// them answered, and returns how many did. It is an error when there are addresses and none answers. This
// peer's own address is left out. Joining again is harmless.
func (g *Gossip) Join(ctx context.Context, addresses []string) (int, error) {
	addresses = slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return a == g.opts.Advertise.String() })
	addresses = addresses[:min(len(addresses), maxJoin)]
	if len(addresses) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := g.tryAll(ctx, addresses)
	var joined int
	var last error
	for range addresses {
		select {
		case err := <-results:
			if err == nil {
				joined++
			} else {
				last = err
			}
		case <-ctx.Done():
			last = ctx.Err()
		case <-g.ctx.Done():
			last = net.ErrClosed
		}
		if joined == joinedEnough || ctx.Err() != nil || g.ctx.Err() != nil {
			break
		}
	}
	if joined > 0 {
		return joined, nil
	}
	return 0, jobs.WithHint(jobs.Errorf(jobs.Unavailable, "none of %d peers answers, the last: %w", len(addresses), last),
		"check that the coordinator or another agent runs, and that its port is open for TCP and UDP")
}

// tryAll tries the addresses, a few at once, until ctx ends. memberlist's Join knows no context: an attempt
// that runs when ctx ends goes on until its own time-out.
func (g *Gossip) tryAll(ctx context.Context, addresses []string) <-chan error {
	results := make(chan error, len(addresses))
	todo := make(chan string, len(addresses))
	for _, a := range addresses {
		todo <- a
	}
	close(todo)
	for range min(joinAtOnce, len(addresses)) {
		g.start(func() {
			for a := range todo {
				if ctx.Err() != nil || g.ctx.Err() != nil {
					return
				}
				results <- g.joinOne(ctx, a)
			}
		})
	}
	return results
}

// joinOne looks the host up itself: memberlist would first ask the name server for everything it knows, by
// TCP and without a bound.
func (g *Gossip) joinOne(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return jobs.Errorf(jobs.Invalid, "address %q: expected host:port", address)
	}
	ips := []string{host}
	if net.ParseIP(host) == nil {
		if ips, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return jobs.Errorf(jobs.Unavailable, "look up %q: %w", host, err)
		}
	}
	for _, ip := range ips {
		if _, err = g.list.Join([]string{net.JoinHostPort(ip, port)}); err == nil {
			return nil
		}
	}
	// memberlist wraps the one error in a list that prints over several lines.
	if one := errors.Unwrap(err); one != nil {
		err = one
	}
	return err
}
