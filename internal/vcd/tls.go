package vcd

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// TLS says which certificates to trust. With neither field the system's
// authorities decide; with both, both must agree.
type TLS struct {
	CAFile      string // PEM file of the authorities to trust instead of the system's
	Fingerprint string // SHA-256 of the server's own certificate in hex, colons optional
}

// A CertificateError says that the server's certificate is not trusted, and
// gives what the operator needs to compare and pin it.
type CertificateError struct {
	Host        string
	Fingerprint string // SHA-256 of the presented certificate, AB:CD:…
	Err         error
}

func (e *CertificateError) Error() string {
	return fmt.Sprintf("%s: untrusted certificate with SHA-256 fingerprint %s: %v", e.Host, e.Fingerprint, e.Err)
}

func (e *CertificateError) Unwrap() error { return e.Err }

var errFingerprint = errors.New("does not have the pinned fingerprint")

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	var b strings.Builder
	for i, x := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", x)
	}
	return b.String()
}

// config builds the TLS side of the client for one host.
func (t TLS) config(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no certificate in it", t.CAFile)
		}
	}
	if t.Fingerprint == "" {
		return c, nil
	}
	want, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(t.Fingerprint), ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("fingerprint %q: not a SHA-256 in hex", t.Fingerprint)
	}
	// A pin replaces the chain and the host name, unless a CA file asks for
	// the chain as well.
	c.InsecureSkipVerify = t.CAFile == ""
	c.VerifyConnection = func(s tls.ConnectionState) error {
		leaf := s.PeerCertificates[0]
		if got := sha256.Sum256(leaf.Raw); string(got[:]) != string(want) {
			return &CertificateError{Host: host, Fingerprint: fingerprint(leaf), Err: errFingerprint}
		}
		return nil
	}
	return c, nil
}

// certificateError makes a failed verification name host and fingerprint.
func certificateError(host string, err error) error {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) && len(untrusted.UnverifiedCertificates) > 0 {
		return &CertificateError{
			Host: host, Fingerprint: fingerprint(untrusted.UnverifiedCertificates[0]), Err: untrusted.Err,
		}
	}
	return err
}

// newHTTPClient never follows redirects: the session goes nowhere else.
func newHTTPClient(t *tls.Config) *http.Client {
	dial := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dial.DialContext,
			TLSClientConfig:       t,
			TLSHandshakeTimeout:   30 * time.Second,
			ResponseHeaderTimeout: 5 * time.Minute,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       90 * time.Second,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
