package fault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// The certificates that a server can be made to show: one that has expired,
// one that nobody knows the signer of, and one for another host.
var certificates = []string{"expired", "stranger", "elsewhere"}

// SignWith sets the authority behind the certificates that are only expired or
// only for elsewhere. It comes before the servers.
func (s *Set) SignWith(cert *x509.Certificate, key crypto.Signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority = &authority{cert, key}
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// TLSConfig is a server's configuration in which rules for TLS replace the
// certificate. Server and service are those of the calls.
func (s *Set) TLSConfig(good tls.Certificate, service, server string) *tls.Config {
	if s != nil {
		s.mu.Lock()
		s.servers = append(s.servers, server)
		s.mu.Unlock()
	}
	// Certificates is left out: it would go before the function where a client
	// names no server, as those do that know it by its address.
	return &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if s != nil && slices.Contains(hello.SupportedProtos, s.own) {
				return &good, nil
			}
			h := s.Match(Call{Service: TLS, Server: server, Operation: service, Object: hello.ServerName})
			if h == nil {
				return &good, nil
			}
			if err := h.Wait(hello.Context()); err != nil {
				return nil, err
			}
			return s.bad(h.Certificate, good)
		}}
}

// bad is the good certificate but for what a careful client refuses it for.
func (s *Set) bad(kind string, good tls.Certificate) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(good.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	s.mu.Lock()
	signer := s.authority
	s.mu.Unlock()
	if signer == nil || kind == "stranger" {
		if signer, err = stranger(); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: leaf.Subject,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: signer.cert.NotBefore, NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: leaf.DNSNames, IPAddresses: leaf.IPAddresses,
	}
	switch kind {
	case "expired":
		template.NotAfter = time.Now().Add(-time.Minute)
		template.NotBefore = template.NotAfter.Add(-24 * time.Hour)
	case "elsewhere":
		template.DNSNames, template.IPAddresses = []string{"elsewhere.invalid"}, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// stranger is an authority that nobody knows.
func stranger() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "stranger"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &authority{cert, key}, nil
}
