package identity

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/jobs"
)

// What a chain was found to be once holds for its bytes only: a change of one bit, a byte moved from one certificate
// to the next, another order and another root are looked at anew, and each check looks at the date.
func TestRememberedChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, other := newForger(t), newForger(t)
		leaf := f.sign(f.leaf(), f.key.Public())
		chain := [][]byte{leaf, f.issuing}
		first, err := VerifyChain(chain, f.root, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := verifiedChains.get(nameOf(chain, f.root)); !ok {
			t.Fatal("a good chain is not remembered")
		}
		moved := [][]byte{leaf[:len(leaf)-1], append(leaf[len(leaf)-1:len(leaf):len(leaf)], f.issuing...)}
		for name, bad := range map[string][][]byte{
			"the leaf changed":   {flip(leaf), f.issuing},
			"the issuer changed": {leaf, flip(f.issuing)},
			"a byte moved":       moved,
			"one joined":         {bytes.Join(chain, nil)},
			"the other order":    {f.issuing, leaf},
			"no issuer":          {leaf},
		} {
			for range 2 { // nor is what is bad remembered as good
				if _, err := VerifyChain(bad, f.root, time.Now()); jobs.KindOf(err) != jobs.Denied {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if _, err := VerifyChain(chain, other.root, time.Now()); jobs.KindOf(err) != jobs.Denied {
			t.Errorf("under another root: %v", err)
		}
		time.Sleep(time.Hour + time.Second) // the leaf's life
		if _, err := VerifyChain(chain, f.root, time.Now()); jobs.KindOf(err) != jobs.Expired {
			t.Errorf("after its end: %v", err)
		}
		if _, err := VerifyChain(chain, f.root, first.NotAfter.Add(-2*CertificateLife)); jobs.KindOf(err) != jobs.Denied {
			t.Errorf("before its begin: %v", err)
		}
		// What is remembered shares nothing with the bytes that it was read from.
		key := bytes.Clone(first.Key)
		clear(leaf)
		again, err := VerifyAuthor([][]byte{f.sign(f.leaf(), f.key.Public()), f.issuing}, f.root)
		if err != nil || !bytes.Equal(first.Key, key) || !bytes.Equal(again.Key, key) {
			t.Errorf("the key changed from %x to %x and %x: %v", key, first.Key, again.Key, err)
		}
	})
}

// P11: however many chains are good, only so many are remembered, and those that are not are verified again.
func TestRememberedChainsAreBounded(t *testing.T) {
	var r remembered
	for i := range uint64(2 * maxRemembered) {
		r.put(nameOf([][]byte{{byte(i), byte(i >> 8)}}, nil), verified{})
	}
	if n := len(r.chains); n != maxRemembered {
		t.Errorf("%d chains are remembered, expected %d", n, maxRemembered)
	}
}

func BenchmarkVerifyChain(b *testing.B) {
	f := newForger(b)
	chain := [][]byte{f.sign(f.leaf(), f.key.Public()), f.issuing}
	for name, verify := range map[string]func([][]byte, []byte) (verified, error){"anew": verifyAnew, "remembered": verify} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := verify(chain, f.root); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
