package cloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An authority signs the certificates of one cloud's servers.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "vcdsim authority"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	a := &authority{key: key}
	if a.cert, err = sign(template, template, key.Public(), key); err != nil {
		return nil, err
	}
	return a, nil
}

// keptAuthority is the one in a file, or a new one, which is put there.
func keptAuthority(path string) (*authority, error) {
	if kept, err := readPair(path); err == nil && lasts(kept.Leaf) {
		if key, ok := kept.PrivateKey.(*ecdsa.PrivateKey); ok && kept.Leaf.IsCA {
			return &authority{key: key, cert: kept.Leaf}, nil
		}
	}
	a, err := newAuthority()
	if err != nil {
		return nil, err
	}
	return a, writePair(path, tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key})
}

// certificate is that of a server, SITE or SITE/VCENTER: the same in every
// start, since clients may have pinned it.
func (c *Cloud) certificate(name string) (tls.Certificate, error) {
	path := filepath.Join(stateDir(c.dir), "tls", filepath.FromSlash(name)+".server.pem")
	if kept, err := readPair(path); err == nil && lasts(kept.Leaf) && kept.Leaf.CheckSignatureFrom(c.ca.cert) == nil &&
		(c.host == "" || kept.Leaf.VerifyHostname(c.host) == nil) {
		return kept, nil
	}
	made, err := c.ca.server(c.host)
	if err != nil {
		return made, err
	}
	return made, writePair(path, made)
}

// lasts tells whether a certificate is good for some time to come.
func lasts(cert *x509.Certificate) bool { return time.Until(cert.NotAfter) > 30*24*time.Hour }

func readPair(path string) (tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(text, text)
}

func writePair(path string, pair tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	return writePrivate(path, append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...))
}

// server makes a certificate for this machine's own names and for host.
func (a *authority) server(host string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "vcdsim"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else if host != "" && host != "localhost" {
		template.DNSNames = append(template.DNSNames, host)
	}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func sign(template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return x509.ParseCertificate(der)
}
