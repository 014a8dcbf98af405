// Command orders is fastapi/app.py again in Go: net/http and pgx.
//
//	LOCK=for_update|conditional POOL=20 PORT=18000 DATABASE_URL=... orders
//
// pgx prepares statements by itself and keeps them for each connection.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type order struct {
	Event int   `json:"event"`
	User  int64 `json:"user"`
}

type hold struct {
	Hold     string    `json:"hold"`
	Event    int       `json:"event"`
	User     int64     `json:"user"`
	Unit     int64     `json:"unit"`
	Deadline time.Time `json:"deadline"`
}

var errSoldOut = errors.New("sold out")

func takeForUpdate(ctx context.Context, tx pgx.Tx, event int) (int64, error) {
	var stock int64
	err := tx.QueryRow(ctx, "SELECT stock FROM deal WHERE event_id = $1 FOR UPDATE", event).Scan(&stock)
	if err != nil {
		return 0, err
	}
	if stock < 1 {
		return 0, errSoldOut
	}
	_, err = tx.Exec(ctx, "UPDATE deal SET stock = stock - 1 WHERE event_id = $1", event)
	return stock - 1, err
}

func takeConditional(ctx context.Context, tx pgx.Tx, event int) (int64, error) {
	var unit int64
	err := tx.QueryRow(ctx, "UPDATE deal SET stock = stock - 1 WHERE event_id = $1 AND stock > 0 RETURNING stock", event).Scan(&unit)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errSoldOut
	}
	return unit, err
}

func main() {
	take := takeForUpdate
	if os.Getenv("LOCK") == "conditional" {
		take = takeConditional
	}
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	size, err := strconv.Atoi(os.Getenv("POOL"))
	if err != nil {
		log.Fatal("POOL: expected a number of connections")
	}
	config.MinConns, config.MaxConns = int32(size), int32(size)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		var asked order
		if r.Method != http.MethodPost {
			http.Error(w, `{"detail":"POST only"}`, http.StatusMethodNotAllowed)
			return
		}
		if json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked) != nil || asked.Event < 1 || asked.User < 1 {
			http.Error(w, `{"detail":"bad order"}`, http.StatusUnprocessableEntity)
			return
		}
		answer := hold{Event: asked.Event, User: asked.User}
		err := pgx.BeginFunc(r.Context(), pool, func(tx pgx.Tx) error {
			var err error
			if answer.Unit, err = take(r.Context(), tx, asked.Event); err != nil {
				return err
			}
			return tx.QueryRow(r.Context(), "INSERT INTO hold (event_id, user_id) VALUES ($1, $2) RETURNING hold_id::text, deadline",
				asked.Event, asked.User).Scan(&answer.Hold, &answer.Deadline)
		})
		w.Header().Set("Content-Type", "application/json")
		switch {
		case errors.Is(err, errSoldOut):
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"detail":"sold out"}`))
		case err != nil:
			log.Print(err)
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(answer)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
