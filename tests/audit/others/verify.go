// A second opinion on a log: Go's own note and tlog packages, and a small verifier of witnesses.
//
//	verify LOG POLICY          the whole log, by the entries and by the tiles
//	verify -proof PROOF LEAF POLICY
//
// It shares nothing with audit/. What it does not look at: cases, rids, times, payloads, keys.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// witness verifies C2SP cosignature/v1: key type 0x04, which x/mod does not know.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	text := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(w.key, []byte(text), sig[8:])
}

func newWitness(vkey string) (*witness, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("a witness key is name+id+key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, fmt.Errorf("%s is no key of type 0x04", parts[0])
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, fmt.Errorf("the key id of %s is not its key's", parts[0])
	}
	return &witness{parts[0], hash, key[1:]}, nil
}

type policy struct {
	logs      map[string]note.Verifier
	witnesses map[string]*witness
	groups    map[string][]string
	needed    map[string]int
	quorum    string
}

func readPolicy(file string) (*policy, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := &policy{map[string]note.Verifier{}, map[string]*witness{}, map[string][]string{}, map[string]int{}, ""}
	for _, row := range strings.Split(string(data), "\n") {
		words := strings.Fields(row)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "log":
			v, err := note.NewVerifier(words[1])
			if err != nil {
				return nil, err
			}
			p.logs[v.Name()] = v
		case "witness":
			w, err := newWitness(words[2])
			if err != nil {
				return nil, err
			}
			p.witnesses[words[1]] = w
		case "group":
			k, err := strconv.Atoi(words[2])
			switch {
			case words[2] == "all":
				k = len(words) - 3
			case words[2] == "any":
				k = 1
			case err != nil:
				return nil, err
			}
			p.groups[words[1]], p.needed[words[1]] = words[3:], k
		case "quorum":
			p.quorum = words[1]
		}
	}
	return p, nil
}

type head struct {
	size int64
	root tlog.Hash
}

// open checks the signature of the log and the quorum of witnesses.
func (p *policy) open(data []byte) (*head, error) {
	origin, _, _ := strings.Cut(string(data), "\n")
	log := p.logs[origin]
	if log == nil {
		return nil, fmt.Errorf("the policy does not know %q", origin)
	}
	known := []note.Verifier{log}
	for _, w := range p.witnesses {
		known = append(known, w)
	}
	n, err := note.Open(data, note.VerifierList(known...))
	if err != nil {
		return nil, err
	}
	signed := map[string]bool{}
	for _, s := range n.Sigs {
		signed[s.Name] = true
	}
	if !signed[origin] {
		return nil, errors.New("the log's key has not signed")
	}
	if p.quorum != "none" && !p.holds(p.quorum, signed) {
		return nil, fmt.Errorf("the quorum %q is not met", p.quorum)
	}
	rows := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(rows[1], 10, 64)
	if err != nil {
		return nil, err
	}
	root, err := tlog.ParseHash(rows[2])
	return &head{size, root}, err
}

// holds says whether a witness has signed, or enough members of a group have.
func (p *policy) holds(name string, signed map[string]bool) bool {
	if w := p.witnesses[name]; w != nil {
		return signed[w.name]
	}
	members, count := p.groups[name], 0
	for _, member := range members {
		if p.holds(member, signed) {
			count++
		}
	}
	return len(members) > 0 && count >= p.needed[name]
}

type files struct{ dir string }

func (f files) Height() int                       { return 8 }
func (f files) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		name := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func entries(dir string, size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		t := tlog.Tile{H: 8, L: 0, N: n, W: int(min(256, size-n*256))}
		name := strings.Replace(t.Path(), "tile/8/0/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s is cut short", name)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			all, data = append(all, data[2:end]), data[end:]
		}
	}
	if int64(len(all)) != size {
		return nil, fmt.Errorf("there are %d entries, the head counts %d", len(all), size)
	}
	return all, nil
}

func verifyLog(dir string, p *policy) error {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	h, err := p.open(data)
	if err != nil {
		return err
	}
	leaves, err := entries(dir, h.size)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(i), leaf, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(h.size, reader)
	if err != nil {
		return err
	}
	if root != h.root {
		return errors.New("the entries do not give the root")
	}
	tiles := tlog.TileHashReader(tlog.Tree{N: h.size, Hash: h.root}, files{dir})
	for i, leaf := range leaves {
		proof, err := tlog.ProveRecord(h.size, int64(i), tiles)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, h.size, h.root, int64(i), tlog.RecordHash(leaf)); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	fmt.Printf("%d records\n", h.size)
	return nil
}

func verifyProof(proofFile, leafFile string, p *policy) error {
	data, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	leaf, err := os.ReadFile(leafFile)
	if err != nil {
		return err
	}
	front, checkpoint, found := bytes.Cut(data, []byte("\n\n"))
	rows := strings.Split(string(front), "\n")
	if !found || len(rows) < 2 || rows[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("no tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(rows[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, row := range rows[2:] {
		hash, err := tlog.ParseHash(row)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	h, err := p.open(checkpoint)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, h.size, h.root, index, tlog.RecordHash(leaf))
}

func run(args []string) error {
	p, err := readPolicy(args[len(args)-1])
	if err != nil {
		return err
	}
	if args[0] == "-proof" {
		return verifyProof(args[1], args[2], p)
	}
	return verifyLog(args[0], p)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
