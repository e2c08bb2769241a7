package nbd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/nbd"
)

// certificates writes an authority and what it signed for a server and a
// client into a directory, under the names that GnuTLS's users expect.
func certificates(t *testing.T) (dir string, pool *x509.CertPool, server, client tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	var authority *x509.Certificate
	var signer *ecdsa.PrivateKey
	write := func(name, kind string, der []byte) {
		b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(name string, usage x509.ExtKeyUsage) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true,
		}
		if authority == nil {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
			authority, signer = c, key
		} else {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
			c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+"-cert", "CERTIFICATE", der)
		write(name+"-key", "PRIVATE KEY", private)
		if pool == nil {
			pool = x509.NewCertPool()
			pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	issue("ca", 0)
	server, client = issue("server", x509.ExtKeyUsageServerAuth), issue("client", x509.ExtKeyUsageClientAuth)
	return dir, pool, server, client
}

func TestTheClientUsesTLS(t *testing.T) {
	leaks(t)
	dir, pool, _, certificate := certificates(t)
	content := noise(8*mib, 1)
	path := file(t, int64(len(content)), map[int64][]byte{0: content})
	good := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}, ServerName: "localhost"}
	plain := nbdkit(t, "-r", "file", path)
	for name, sock := range map[string]string{
		"nbdkit": nbdkit(t, "-r", "--tls=require", "--tls-verify-peer", "--tls-certificates="+dir, "file", path),
		"qemu-nbd": func() string {
			sock := socket(t)
			start(t, sock, "qemu-nbd", "-r", "-f", "raw", "-k", sock, "--persistent", "--shared=0",
				"--object", "tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir="+dir, "--tls-creds", "tls0", path)
			return sock
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, sock, nbd.Options{TLS: good, Connections: 2})
			got := make([]byte, len(content))
			if err := c.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the disk differs: %v", err)
			}
			// Giving up in mid-read does TLS no harm.
			for i := range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
				_ = c.ReadAt(ctx, got, 0)
				cancel()
			}
			if err := c.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, content) {
				t.Errorf("after calls were given up: %v", err)
			}
		})
	}
	tlsOnly := nbdkit(t, "-r", "--tls=require", "--tls-verify-peer", "--tls-certificates="+dir, "file", path)
	for _, c := range []struct {
		name, sock, want string
		config           *tls.Config
	}{
		{"a server without TLS is refused", plain, "TLS", good},
		{"a server that wants TLS refuses us without", tlsOnly, "wants TLS", nil},
		{"a server of an authority that nobody knows is refused", tlsOnly, "unknown authority", &tls.Config{ServerName: "localhost"}},
		{"a server of another name is refused", tlsOnly, "not elsewhere", &tls.Config{RootCAs: pool, ServerName: "elsewhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := nbd.Dial(t.Context(), "unix", c.sock, nbd.Options{TLS: c.config})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestTheServerUsesTLS(t *testing.T) {
	leaks(t)
	dir, pool, certificate, _ := certificates(t)
	path, content := image(t)
	s := &nbd.Server{
		Exports: []nbd.Export{{Name: "x", Backend: openDisk(t, path), ReadOnly: true}},
		TLS: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	run(t, "nbdcopy", "nbds://localhost:"+port+"/x?tls-certificates="+dir, out)
	equal(t, out, content)
	run(t, "qemu-img", "compare", "--object", "tls-creds-x509,id=tls0,endpoint=client,dir="+dir, "--image-opts",
		"driver=nbd,export=x,tls-creds=tls0,server.type=inet,server.host=localhost,server.port="+port, "driver=raw,file.filename="+path)
	if got, err := exec.CommandContext(soon(t), "nbdinfo", "nbd://localhost:"+port+"/x").CombinedOutput(); err == nil {
		t.Errorf("a client without TLS is served: %s", got)
	}
	_, err = nbd.Dial(soon(t), "tcp", "localhost:"+port, nbd.Options{Export: "x"})
	var refusal *nbd.Refusal
	if !errors.As(err, &refusal) || refusal.Code != 5 {
		t.Errorf("our client without TLS: got %v", err)
	}
	_, err = nbd.Dial(soon(t), "tcp", "localhost:"+port, nbd.Options{Export: "x", TLS: &tls.Config{RootCAs: pool}})
	if err == nil {
		t.Error("a client without a certificate is served")
	}
}
