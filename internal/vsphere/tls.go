package vsphere

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/vmware/govmomi/vim25/soap"
)

// TLS says which server certificate to trust. With neither field set, the
// machine's own authorities decide.
type TLS struct {
	// CAFile is a file of PEM certificates to trust as authorities.
	CAFile string
	// Fingerprint pins the SHA-256 of the server's own certificate, in hex,
	// colons optional. It wins over CAFile and asks for no valid name or date.
	Fingerprint string
}

// trust decides on the certificates that servers present.
type trust struct {
	server string   // host:port of vCenter
	pin    [32]byte // of vCenter's certificate
	pinned bool
	roots  *x509.CertPool                   // nil: the machine's
	seen   atomic.Pointer[x509.Certificate] // vCenter's, as it was last accepted
	// thumbprint knows the hosts that vCenter vouches for (NFC leases).
	thumbprint func(addr string) string
}

func newTrust(u *url.URL, o TLS) (*trust, error) {
	t := &trust{server: hostPort(u)}
	if o.Fingerprint != "" {
		raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(o.Fingerprint), ":", ""))
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("fingerprint %q: want the 64 hex digits of a SHA-256", o.Fingerprint)
		}
		t.pin, t.pinned = [32]byte(raw), true
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no certificate in it", o.CAFile)
		}
	}
	return t, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// install makes c ask t about every certificate, and bounds its answers. Govmomi's own dialler
// ignores the context and looks at a fingerprint only after some of the ways
// in which verification can fail.
func (t *trust) install(c *soap.Client) {
	t.thumbprint = c.Thumbprint
	transport := c.DefaultTransport()
	transport.TLSClientConfig = t.config("") // through a proxy
	transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := tls.Dialer{Config: t.config(addr)}
		return d.DialContext(ctx, network, addr)
	}
	c.Client.Transport = bounded{RoundTripper: transport, most: maxAnswer}
}

// config returns a TLS configuration for addr, or for whatever address the
// server name tells when addr is empty.
func (t *trust) config(addr string) *tls.Config {
	host, _, _ := net.SplitHostPort(addr)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: host,
		// Not a waiver: VerifyConnection below does what this turns off,
		// because a pin must be able to replace it.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			a := addr
			if a == "" {
				a = net.JoinHostPort(s.ServerName, "443")
			}
			if err := t.verify(a, s.PeerCertificates); err != nil {
				return err
			}
			if a == t.server {
				t.seen.Store(s.PeerCertificates[0])
			}
			return nil
		},
	}
}

// verified is the SHA-1 of the certificate by which vCenter was last known,
// or empty.
func (t *trust) verified() string {
	if cert := t.seen.Load(); cert != nil {
		return sha1Thumbprint(cert)
	}
	return ""
}

// verify accepts or refuses the chain that addr presented.
func (t *trust) verify(addr string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return fmt.Errorf("%s: %w: none presented", addr, ErrUntrusted)
	}
	sum := sha256.Sum256(chain[0].Raw)
	if t.pinned && addr == t.server {
		if subtle.ConstantTimeCompare(sum[:], t.pin[:]) == 1 {
			return nil
		}
		return fmt.Errorf("%s: %w: its SHA-256 fingerprint is %s, not the configured %s",
			addr, ErrUntrusted, Fingerprint(sum), Fingerprint(t.pin))
	}
	if known := t.thumbprint(addr); known != "" {
		if known == soap.ThumbprintSHA256(chain[0]) || known == soap.ThumbprintSHA1(chain[0]) {
			return nil
		}
		return fmt.Errorf("%s: %w: its SHA-256 fingerprint is %s, vCenter vouches for %s",
			addr, ErrUntrusted, Fingerprint(sum), known)
	}
	host, _, _ := net.SplitHostPort(addr)
	if host == "" { // an IP address behind a proxy: nothing to check a name against
		return fmt.Errorf("%s: %w: no server name to check; its SHA-256 fingerprint is %s", t.server, ErrUntrusted, Fingerprint(sum))
	}
	o := x509.VerifyOptions{Roots: t.roots, DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return fmt.Errorf("%s: %w: %w; its SHA-256 fingerprint is %s", addr, ErrUntrusted, err, Fingerprint(sum))
	}
	return nil
}

// Fingerprint returns a SHA-256 as upper-case hex with colons, as vCenter
// shows it.
func Fingerprint(sum [32]byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// plainURLError drops the request line that net/http puts before an error:
// the caller names the server already.
func plainURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
