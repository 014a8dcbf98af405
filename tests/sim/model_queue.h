/*
 * model_queue.h - the waiting room's rules, plain and slow: a part of the model.
 */
#ifndef SIM_MODEL_QUEUE_H
#define SIM_MODEL_QUEUE_H

#include "tests/sim/model.h"

/* QUEUE_JOIN, QUEUE_GET, QUEUE_LEAVE, QUEUE_WATCH, QUEUE_UNWATCH. The answer is zeroed. */
void queue_execute(struct model *model, const struct scenario *scenario, const struct op *op,
                   uint64_t now_ms, uint32_t options, struct answer *answer);

/* May this hold be placed, for all the queue has to say? */
bool queue_admits(struct model *model, const struct scenario *scenario, const struct op *op,
                  uint64_t now_ms, uint32_t options);

/* The hold has just been confirmed: is the user done? */
void queue_confirmed(struct model *model, const struct scenario *scenario, const struct op *op,
                     uint32_t hold, uint64_t now_ms, uint32_t options);

/* Both may be: the home of this confirm's user has been told that the user is let in, or not yet. */
bool queue_unaware(const struct model *model, const struct scenario *scenario, const struct op *op,
                   uint64_t now_ms);

/* An event has been changed. */
void queue_changed_by(struct model *model, const struct request *request, uint64_t now_ms);

/* HOLDS: the user's place. */
void queue_of_user(struct model *model, const struct scenario *scenario, const struct request *request,
                   uint64_t now_ms, struct answer *answer);

/* Slot of a token by id, or -1. */
int32_t queue_find(const struct model *model, const struct uuid *id);

/* The id of a token has been told: a place in the draw with it. */
void queue_learn(struct model *model, const struct scenario *scenario, uint32_t token,
                 const struct uuid *id);

/* All is at rest and swept: exactly the first ones are active, the silent have gone, everybody knows. */
void queue_rest(struct model *model, const struct scenario *scenario, uint64_t now_ms);

/* A start: everybody who waits has a fresh period of grace, from some moment between these two. */
void queue_restarted(struct model *model, uint64_t first_ms, uint64_t last_ms);

/* The next moment from now_ms on at which no sweep can come too early or too late to say what it finds;
 * nor within margin_ms from then on, where that is more than none. */
uint64_t queue_sure_ms(const struct model *model, const struct scenario *scenario, uint64_t now_ms,
                       uint64_t margin_ms);

/* Whoever has been silent for so long has gone, though no sweep has come by. */
void queue_silence(struct model *model, const struct scenario *scenario, uint64_t now_ms);

/* Has somebody been silent for so long that the next sweep ends the place? */
bool queue_silent(const struct model *model, const struct scenario *scenario, uint64_t now_ms);

/* Does somebody's time to hold end at this very moment? */
bool queue_ends_at(const struct model *model, uint64_t now_ms);

/* Is something about this token open that an answer would tell? */
bool queue_open_question(const struct model_token *token);

#endif
