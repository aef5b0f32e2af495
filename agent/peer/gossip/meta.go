package gossip

import (
	"crypto/ed25519"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Bounds of what a member says of itself.
const (
	// maxMeta is half of what memberlist takes: it panics above 512 bytes, and every push-pull carries all.
	maxMeta    = 256
	maxVoucher = 96 // bytes; an Ed25519 signature takes 64
	maxCores   = 1<<16 - 1
	maxVersion = 1<<16 - 1
	// maxSeconds keeps times in the range where time.Time can be compared and printed: the year 9999.
	maxSeconds = 253402300799
)

// signatureField is the number of NodeMeta.signature, which stands last.
const signatureField = 10

// metaContext keeps the machine's key from signing the same bytes for another purpose.
const metaContext = "idlegrid node meta v1"

// Voucher is the authority's word that a key is that of an agent or coordinator until a time.
type Voucher struct {
	Role      peer.Role
	Class     peer.Class
	NotAfter  time.Time // in whole seconds
	Signature []byte
}

// State is what a member says of itself.
type State struct {
	Voucher   Voucher
	Reachable bool // a peer has dialled it back
	Draining  bool
	Cores     int // offered now
}

func (s State) clone() State {
	s.Voucher.Signature = slices.Clone(s.Voucher.Signature)
	return s
}

func (s State) equal(o State) bool {
	v, w := s.Voucher, o.Voucher
	return v.Role == w.Role && v.Class == w.Class && v.NotAfter.Equal(w.NotAfter) && slices.Equal(v.Signature, w.Signature) &&
		s.Reachable == o.Reachable && s.Draining == o.Draining && s.Cores == o.Cores
}

// claim is what a meta says, before anybody verified it.
type claim struct {
	State
	key     ed25519.PublicKey
	version int
}

// encodeMeta returns the signed meta of the member with that name and address.
func encodeMeta(s State, key ed25519.PrivateKey, name string, addr netip.AddrPort) ([]byte, error) {
	if s.Cores < 0 || s.Cores > maxCores {
		return nil, jobs.Errorf(jobs.Invalid, "%d cores, expected 0 to %d", s.Cores, maxCores)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&gridv1.NodeMeta{
		PublicKey: key.Public().(ed25519.PublicKey), Voucher: s.Voucher.Signature,
		VoucherNotAfter: s.Voucher.NotAfter.Unix(), Role: gridv1.Role(s.Voucher.Role), Class: gridv1.Class(s.Voucher.Class),
		Version: peer.Version, Reachable: s.Reachable, Draining: s.Draining, Cores: uint32(s.Cores),
	})
	if err != nil {
		return nil, jobs.Errorf(jobs.Internal, "encode node meta: %w", err)
	}
	meta := protowire.AppendTag(slices.Clone(body), signatureField, protowire.BytesType)
	meta = protowire.AppendBytes(meta, ed25519.Sign(key, signedBytes(body, name, addr)))
	if _, err := decodeMeta(meta); err != nil {
		return nil, err // what others would refuse is refused here, where somebody reads the message
	}
	return meta, nil
}

// signedBytes is what the machine signs: the meta without its signature, for one name at one address.
func signedBytes(body []byte, name string, addr netip.AddrPort) []byte {
	b := []byte(metaContext)
	for _, part := range [][]byte{body, []byte(name), []byte(addr.String())} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// splitMeta cuts the signature off. What is signed are the bytes as they came, so that fields of a later
// version, which this one does not know, do not break it.
func splitMeta(meta []byte) (body, signature []byte, err error) {
	head := protowire.AppendVarint(protowire.AppendTag(nil, signatureField, protowire.BytesType), ed25519.SignatureSize)
	at := len(meta) - ed25519.SignatureSize
	if at < len(head) || string(meta[at-len(head):at]) != string(head) {
		return nil, nil, jobs.Errorf(jobs.Invalid, "node meta: no signature at its end")
	}
	return meta[:at-len(head)], meta[at:], nil
}

// decodeMeta reads a meta and checks every bound, but no signature.
func decodeMeta(meta []byte) (claim, error) {
	if len(meta) > maxMeta {
		return claim{}, jobs.Errorf(jobs.Invalid, "node meta of %d bytes, expected at most %d", len(meta), maxMeta)
	}
	body, _, err := splitMeta(meta)
	if err != nil {
		return claim{}, err
	}
	var m gridv1.NodeMeta
	if err := proto.Unmarshal(body, &m); err != nil {
		return claim{}, jobs.Errorf(jobs.Invalid, "node meta: %w", err)
	}
	if err := checkMeta(&m); err != nil {
		return claim{}, jobs.Errorf(jobs.Invalid, "node meta: %w", err)
	} // checkMeta knows all roles and classes of a member
	return claim{key: m.GetPublicKey(), version: int(m.GetVersion()), State: State{
		Voucher: Voucher{
			Role: peer.Role(m.GetRole()), Class: peer.Class(m.GetClass()),
			NotAfter: time.Unix(m.GetVoucherNotAfter(), 0), Signature: m.GetVoucher(),
		},
		Reachable: m.GetReachable(), Draining: m.GetDraining(), Cores: int(m.GetCores()),
	}}, nil
}

func checkMeta(m *gridv1.NodeMeta) error {
	agent := m.GetRole() == gridv1.Role_ROLE_AGENT && m.GetClass() >= gridv1.Class_CLASS_ALWAYS_ON &&
		m.GetClass() <= gridv1.Class_CLASS_LAPTOP
	coordinator := m.GetRole() == gridv1.Role_ROLE_COORDINATOR && m.GetClass() == gridv1.Class_CLASS_UNSPECIFIED
	switch {
	case len(m.GetPublicKey()) != ed25519.PublicKeySize:
		return jobs.Errorf(jobs.Invalid, "public key of %d bytes", len(m.GetPublicKey()))
	case len(m.GetVoucher()) == 0 || len(m.GetVoucher()) > maxVoucher:
		return jobs.Errorf(jobs.Invalid, "voucher of %d bytes", len(m.GetVoucher()))
	case m.GetVoucherNotAfter() <= 0 || m.GetVoucherNotAfter() > maxSeconds:
		return jobs.Errorf(jobs.Invalid, "voucher until second %d", m.GetVoucherNotAfter())
	case !agent && !coordinator:
		return jobs.Errorf(jobs.Invalid, "role %d with class %d: a member is an agent with a class or the coordinator", m.GetRole(), m.GetClass())
	case m.GetVersion() == 0 || m.GetVersion() > maxVersion:
		return jobs.Errorf(jobs.Invalid, "version %d", m.GetVersion())
	case m.GetCores() > maxCores:
		return jobs.Errorf(jobs.Invalid, "%d cores", m.GetCores())
	}
	return nil
}

// nameOf returns a member's name.
func nameOf(id jobs.AgentID, boot uint64) string {
	return id.String() + "." + strconv.FormatUint(boot, 10)
}

// parseName reads what nameOf writes and nothing else.
func parseName(name string) (jobs.AgentID, uint64, error) {
	idText, bootText, _ := strings.Cut(name, ".")
	id, err := jobs.ParseKeyID(idText)
	if err != nil {
		return id, 0, jobs.Errorf(jobs.Invalid, "member name %.100q: %w", name, err)
	}
	boot, err := strconv.ParseUint(bootText, 10, 64)
	if err != nil || nameOf(id, boot) != name {
		return id, 0, jobs.Errorf(jobs.Invalid, "member name %.100q: no boot counter after the ID", name)
	}
	return id, boot, nil
}

// usable reports whether others can send to the address.
func usable(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.IsValid() && a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == "" && !ip.Is4In6()
}
