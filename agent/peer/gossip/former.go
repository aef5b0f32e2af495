package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"net"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

const (
	// aesGCM and deadMessage are numbers of memberlist's wire protocol: how a packet is encrypted, and what is in it.
	aesGCM      = 1
	deadMessage = 5
	// buried is the incarnation of a former run: none comes to it by its own changes, and there is room above it for
	// the objection of one that lives, a copy of this machine's identity.
	buried = 1 << 31
)

// buryFormer tells memberlist that the former runs of an agent have left as soon as there is a later one. It would find
// out by itself, but one probe at a time: in a small pool where an agent crashed and started again every few seconds
// most names were dead ones after some minutes, most gossip went to them, and the next start took minutes to be seen.
// memberlist has no call for it, so it gets the packet that the former run would have sent, had it known.
func (g *Gossip) buryFormer() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.superseded:
		}
		for _, name := range g.roster.former() {
			if name == g.name {
				continue // a copy of this machine's identity is in use, which warnOfTwin tells
			}
			packet, err := leaveOf(name, g.opts.Secrets[0])
			if err != nil {
				g.log.Error("tell memberlist that a former run is over", "name", name, "err", err)
				continue
			}
			select {
			case g.transport.packets <- packet:
			case <-g.ctx.Done():
				return
			}
		}
	}
}

// leaveOf returns the packet in which a member says that it leaves.
func leaveOf(name string, secret []byte) (*memberlist.Packet, error) {
	var body []byte
	err := codec.NewEncoderBytes(&body, &codec.MsgpackHandle{}).Encode(struct {
		Incarnation uint32
		Node, From  string
	}{buried, name, name})
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	message := append([]byte{deadMessage}, body...)
	sealed := gcm.Seal([]byte{aesGCM}, nil, message, nil) //nolint:gosec // It makes its own nonce.
	return &memberlist.Packet{Buf: sealed, From: new(net.UDPAddr), Timestamp: time.Now()}, nil
}
