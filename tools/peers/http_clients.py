"""Clients that ask a server for one text after another, at the same time.

Each has a connection of its own, which it keeps, and sends its next request
when the last one is answered. Only the standard library is needed.

Settings: address (host:port), model (its name), texts (a .json list), cores.
Requests: {"do": "ask", "clients": how many}: all texts once, shared among
them; replies with `milliseconds` of each request. {"do": "answers"}:
probabilities of all texts, asked by one client.
"""

import http.client
import itertools
import json
import threading
import time

from serve import serve


def prepare(settings):
    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    bodies = [json.dumps({"instances": [text]}).encode() for text in texts]
    path = f"/v1/models/{settings['model']}:predict"

    def ask_all(clients):
        """Milliseconds and answers, in the order of the texts."""
        found = [None] * len(bodies)
        failed = []
        numbers = itertools.count()  # `next` of it is atomic

        def client():
            connection = http.client.HTTPConnection(settings["address"])
            try:
                while (number := next(numbers)) < len(bodies) and not failed:
                    started = time.perf_counter()
                    connection.request("POST", path, bodies[number])
                    response = connection.getresponse()
                    answer = response.read()
                    took = 1e3 * (time.perf_counter() - started)
                    if response.status != 200:
                        raise RuntimeError(f"{response.status}: {answer!r}")
                    found[number] = took, answer
            except Exception as error:
                failed.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return found

    def handle_request(request):
        found = ask_all(request.get("clients", 1))
        if request["do"] == "answers":
            rows = [json.loads(answer)["predictions"][0] for _, answer in found]
            return {"answers": [row["probabilities"] for row in rows]}
        return {"milliseconds": [took for took, _ in found]}

    return {"version": "HTTP/1.1, connections kept"}, handle_request


if __name__ == "__main__":
    serve(prepare)
