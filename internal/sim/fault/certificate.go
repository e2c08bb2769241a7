package fault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"
)

// The certificates that a server can be made to show: one that has expired,
// one that nobody knows the signer of, and one for another host.
var certificates = []string{"expired", "stranger", "elsewhere"}

// TLSConfig is a server's configuration in which rules for TLS replace the
// certificate. Server and service are those of the calls.
func (s *Set) TLSConfig(good tls.Certificate, service, server string) *tls.Config {
	// Certificates is left out: it would go before the function where a client
	// names no server, as those do that know it by its address.
	return &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			h := s.Match(Call{Service: TLS, Server: server, Operation: service, Object: hello.ServerName})
			if h == nil {
				return &good, nil
			}
			if err := h.Wait(hello.Context()); err != nil {
				return nil, err
			}
			return bad(h.Certificate)
		}}
}

// bad makes a certificate that a careful client refuses.
func bad(kind string) (*tls.Certificate, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: kind},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	switch kind {
	case "expired":
		template.NotAfter = time.Now().Add(-24 * time.Hour)
	case "elsewhere":
		template.DNSNames, template.IPAddresses = []string{"elsewhere.invalid"}, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}
