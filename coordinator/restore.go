package coordinator

import (
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/coordinator/internal/admission"
	"idlegrid/jobs"
)

// restoreHint is what to do about a folder that has too little to be a coordinator's.
const restoreHint = "make a grid with `gridcoordinator init`, or put key.pem, issuing.pem and root.pem of a backup there"

// openAuthority reads the authority of a state folder.
func openAuthority(dir *os.Root) (*identity.Authority, error) {
	a, err := identity.Open(dir)
	if jobs.KindOf(err) == jobs.NotFound {
		err = jobs.WithHint(err, restoreHint)
	}
	return a, err
}

// restore makes what a folder lacks in which only the keys are left: the coordinator's certificate and grid.json.
// The certificate is also made anew when it is by another issuing key than the folder's. All else that a coordinator
// knows comes back from the pool.
func restore(dir *os.Root, a *identity.Authority, log *slog.Logger) error {
	id, err := identity.Load(dir)
	if err != nil && jobs.KindOf(err) != jobs.NotFound {
		return err
	}
	certified := err == nil && id.Issuer().Equal(a.Issuer())
	grid, err := node.LoadGrid(dir)
	known := err == nil
	if err != nil && jobs.KindOf(err) != jobs.NotFound {
		return err
	}
	if certified && known {
		return nil
	}
	key, err := identity.LoadKey(dir)
	if jobs.KindOf(err) == jobs.NotFound {
		return jobs.WithHint(err, restoreHint)
	}
	if err != nil {
		return err
	}
	if !known {
		log.Warn("no grid.json here: the gossip key is made from key.pem, and tokens of before are void; "+
			"a grid that is older than this way needs its grid.json back", "folder", dir.Name())
		grid.TokensSince = time.Now().Truncate(time.Second)
	}
	log.Info("issuing the coordinator's own certificate", "folder", dir.Name())
	return certify(dir, a, key, grid)
}

// certify gives the coordinator a new certificate, and its grid.json a gossip key where it has none.
func certify(dir *os.Root, a *identity.Authority, key ed25519.PrivateKey, grid node.Grid) error {
	if len(grid.GossipKeys) == 0 {
		secret, err := identity.GossipKey(key)
		if err != nil {
			return err
		}
		grid.GossipKeys = [][]byte{secret}
	}
	id, voucher, err := selfIssue(a, key)
	if err != nil {
		return err
	}
	grid.Voucher, grid.VoucherEnds = voucher, id.Caller().NotAfter.Truncate(time.Second)
	return errors.Join(node.SaveGrid(dir, grid), id.Save(dir))
}

func selfIssue(a *identity.Authority, key ed25519.PrivateKey) (*identity.Identity, []byte, error) {
	csr, err := identity.Request(key)
	if err != nil {
		return nil, nil, err
	}
	chain, voucher, err := admission.Issue(a, csr, identity.Grant{Role: peer.Coordinator})
	if err != nil {
		return nil, nil, err
	}
	id, err := identity.New(key, chain, a.Root())
	return id, voucher, err
}
